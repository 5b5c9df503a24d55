"""Says of one run whether it broke the policy: written from the policy's words, for the tests only."""

from collections.abc import Iterable, Mapping, Sequence

Trace = Sequence[frozenset[str]]
"""What ran, step by step; nodes that ran together are one step."""
Does = Mapping[str, Iterable[str]]
"""What each node does, in words of its own: see `breaks`."""

READS = {"private", "untrusted"}
ACTS = READS | {"generate", "act", "send", "store"}


def breaks(trace: Trace, does: Does, *, over: bool) -> bool:
    """Tell whether a run broke the policy; `over`: it ended, and was not cut off."""
    steps = [{word for node in nodes for word in does.get(node, ())} for nodes in trace]
    return (
        any(_unauthorized(steps, at) or _unvalidated(steps, at) for at in range(len(steps)))
        or any(_unasked(steps, at) or _gets_out(steps, at) for at in range(len(steps)))
        or (over and _ends_unchecked(steps))
    )


def _unauthorized(steps: list[set[str]], at: int) -> bool:
    return bool(steps[at] & ACTS) and not any("authorize" in step for step in steps[:at])


def _last(steps: list[set[str]], words: set[str]) -> set[str]:
    """Return the last step with one of `words`, cut down to them."""
    return next((step & words for step in reversed(steps) if step & words), set())


def _unvalidated(steps: list[set[str]], at: int) -> bool:
    if "answer" not in steps[at]:
        return False
    last = _last(steps[:at], {"generate", "validate", "quote"})
    return not last or "generate" in last


def _ends_unchecked(steps: list[set[str]]) -> bool:
    return "generate" in _last(steps, {"generate", "validate", "quote", "refuse"})


def _agreed(steps: list[set[str]], at: int) -> bool:
    """Tell whether a person was asked before a step, and nothing was read or written by a model since."""
    last = _last(steps[:at], READS | {"generate", "approve"})
    return last == {"approve"}


def _unasked(steps: list[set[str]], at: int) -> bool:
    return "act" in steps[at] and not _agreed(steps, at)


def _gets_out(steps: list[set[str]], at: int) -> bool:
    read = set().union(*steps[: at + 1]) & READS
    sent = any("send" in steps[step] and not _agreed(steps, step) for step in range(at + 1))
    here = bool(steps[at] & (READS | {"send"})) and not _agreed(steps, at)
    return here and sent and read == READS

"""What every engine checks of a request before it computes anything."""

from markgraph.engines.port import Sampling
from markgraph.errors import UsageError


def answer_room(prompt: list[int], sampling: Sampling, window: int) -> int:
    """Return how many tokens the answer may have.

    Raises:
        UsageError: the prompt is empty, or leaves no room for an answer in the window.
    """
    if not prompt:
        raise UsageError("The prompt has no tokens. Allowed: one at least. Give the model something to read.")
    if len(prompt) >= window:
        raise UsageError(
            f"The prompt has {len(prompt)} tokens; the model reads at most {window}, its answer included. "
            "Shorten it, or lower graph.compress.max_tokens."
        )
    return min(sampling.max_tokens, window - len(prompt))


def refuse(engine: str, sampling: Sampling, *lacks: str) -> None:
    """Refuse a request that asks for one of the settings that `engine` lacks, rather than ignore it.

    Raises:
        UsageError: it does.
    """
    default = Sampling()
    asked = [name for name in lacks if vars(sampling)[name] != vars(default)[name]]
    if asked:
        allowed = ", ".join(name for name in vars(default) if name not in lacks)
        raise UsageError(
            f"The {engine} engine has no {' and no '.join(asked)}. Allowed: {allowed}. "
            "Leave it out, or choose an engine that has it: the native one has all."
        )

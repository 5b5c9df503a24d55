"""Where runs are followed by people: a tracker is told of a run's config, figures and files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from markgraph.errors import StorageError
from markgraph.training.state import TrainState

Known = Mapping[str, Mapping[int, float]]
"""The values that a tracker has of each figure, by step."""


def is_known(known: Known, key: str, step: int, value: float) -> bool:
    """Tell whether a tracker has a figure already.

    A training that goes on repeats its steps, to the same result. At 0 there are scores: these change when
    another model is in service by then.
    """
    return step in known.get(key, ()) and (step > 0 or known[key][step] == value)


class Tracking(Protocol):
    """A run that is being followed."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Take figures of a step; those that a run had before it went on are not taken twice."""

    def keep(self, files: Sequence[Path], folder: str) -> None:
        """Keep copies of files, below `folder`."""

    def end(self, status: str) -> None:
        """Close the run for now: `FINISHED`, `FAILED` or `KILLED`."""


class Tracker(Protocol):
    """Follows runs; one that goes on after a crash is the same run there."""

    def run(self, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracking:
        """Return the run of that name, begun if there is none."""


class Untracked:
    """Is told everything, and keeps nothing."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Forget."""

    def keep(self, files: Sequence[Path], folder: str) -> None:
        """Forget."""

    def end(self, status: str) -> None:
        """Forget."""


def none() -> None:
    """Follow nothing."""


@contextmanager
def about(tracker: Tracker | None, state: TrainState, settings: Mapping[str, Any]) -> Iterator[Tracking]:
    """Let what runs within be followed, and say how it ended.

    Raises:
        StorageError: the tracker can't be told. What ran within can be gone on with.
    """
    tags = {
        "markgraph.config": state["plan"]["config_hash"],
        "markgraph.owner": state["owner"],
        **{
            f"markgraph.rows.{stage}.{name}": digest
            for stage, prepared in state["prepared"].items()
            for name, digest in prepared["sha256"].items()
        },
    }
    tracking: Tracking = tracker.run(state["run"], settings, tags) if tracker else Untracked()
    try:
        yield tracking
    except BaseException as error:
        with suppress(StorageError):  # what ended the run says more
            tracking.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracking.end("FINISHED")


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each setting with the path of its key."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)

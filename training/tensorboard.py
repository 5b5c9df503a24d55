"""Follows runs in TensorBoard's files: `tensorboard --logdir FOLDER` shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markgraph.errors import MissingExtraError
from markgraph.training.tracking import Known, Tracking, is_known


@dataclass(frozen=True)
class Tensorboard:
    """Writes each run into a folder of its name."""

    folder: str

    def run(self, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> Tracking:
        """Return the run called `name`.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"tracker=tensorboard needs {error.name}. Install it: pip install 'markgraph[train]'."
            ) from error
        place = Path(self.folder) / name
        known = _known(place) if place.is_dir() else {}
        writer = SummaryWriter(str(place))
        told = json.dumps({**config, "tags": dict(tags)}, indent=1)
        writer.add_text("config", f"```\n{told}\n```")
        return _Run(writer, known)


@dataclass(frozen=True)
class _Run:
    writer: Any
    known: Known
    """What the files had when this run was gone on with."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for key, value in figures.items():
            if not is_known(self.known, key, step, value):
                self.writer.add_scalar(key, value, step)

    def keep(self, files: Sequence[Path], folder: str) -> None:
        for file in files:
            if file.suffix == ".png":
                self.writer.add_image(f"{folder}/{file.stem}", _pixels(file), dataformats="HWC")

    def end(self, status: str) -> None:  # noqa: ARG002
        self.writer.close()


def _known(folder: Path) -> Known:
    """Return what a folder of events has."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {key: {each.step: each.value for each in events.Scalars(key)} for key in events.Tags()["scalars"]}


def _pixels(file: Path) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(file).convert("RGB"))

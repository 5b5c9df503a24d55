"""Reads text off pictures of pages: a port, and the two engines behind it.

Does NOT read handwriting, and does not find tables. The words of a column come before those of the next.
"""

import csv
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from io import BytesIO
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from markgraph.documents.options import PAGE_WAS_READ, EngineName, ReadOptions
from markgraph.documents.reading_order import TextBox, reading_order
from markgraph.documents.text import clean
from markgraph.documents.upright import straighten
from markgraph.errors import DocumentError

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = (
    "Install tesseract (Debian: apt-get install tesseract-ocr) or rapidocr (pip install 'markgraph[ocr]')"
)
_SURE = 0.8
"""Whatever is read with less confidence is read once more, upside down."""
_SPECKS = 0.3
"""Words that tesseract is less sure of are mostly specks, lines and pictures."""


@dataclass(frozen=True)
class Reading:
    """What an engine read."""

    text: str
    confidence: float
    """The mean over words or lines, from 0 to 1; 0 where there are none."""


class Engine(Protocol):
    """What reads the picture of one page."""

    def __call__(self, image: "Image") -> Reading:
        """Read a grey picture whose lines are level."""


@dataclass(frozen=True)
class Ocr:
    """Reads pages with an engine, whichever way up they lie."""

    engine: Engine

    def read(self, image: "Image") -> str:
        """Return the cleaned text of the picture of a page."""
        level = straighten(image)
        reading = self.engine(level)
        if reading.confidence < _SURE:  # maybe it stands on its head
            reading = max(reading, self.engine(level.rotate(180)), key=lambda each: each.confidence)
        PAGE_WAS_READ.get()()
        return clean(reading.text).strip()


def engine_name(options: ReadOptions) -> EngineName:
    """Return what `auto` stands for on this machine, else what is named."""
    if options.ocr != "auto":
        return options.ocr
    return "tesseract" if shutil.which("tesseract") else "rapidocr" if find_spec("rapidocr") else "none"


def find_engine(options: ReadOptions) -> Ocr | None:
    """Return what `options.ocr` names; None for `none`, and for `auto` where no engine is installed.

    Raises:
        DocumentError: when the engine is not on this machine.
    """
    name = engine_name(options)
    return (
        None if name == "none" else Ocr(Tesseract(options.languages) if name == "tesseract" else _rapid_ocr())
    )


def install_hint(options: ReadOptions) -> str:
    """Return what to do about a scan that gave no text."""
    if options.ocr == "none":
        return "OCR is switched off: ocr=auto reads it."
    return (
        f"{INSTALL}." if find_engine(options) is None else "OCR found no text on them either. Leave it out."
    )


class Tesseract:
    """The program `tesseract`, which also tells which way up a page lies."""

    def __init__(self, languages: Sequence[str] = ("eng",)) -> None:
        program = shutil.which("tesseract")
        if program is None:
            raise DocumentError(f"The program tesseract, which ocr=tesseract names, is not there. {INSTALL}.")
        self._command = [program, "-", "-", "-l", "+".join(languages), "--psm", "1", "--dpi", "300", "tsv"]

    def __call__(self, image: "Image") -> Reading:
        """Read the lines, with an empty line between paragraphs.

        Raises:
            DocumentError: when tesseract fails, as it does on a language that is not installed.
        """
        picture = BytesIO()
        image.save(picture, "PPM")
        # More threads than one make it slower: many pages are read at once.
        environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
        done = subprocess.run(self._command, input=picture.getvalue(), capture_output=True, env=environment)  # noqa: S603
        reason = done.stderr.decode("utf-8", "replace").strip()[-500:]
        if done.returncode or "Failed loading language" in reason:  # it goes on with the other languages
            raise DocumentError(
                f"tesseract failed ({done.returncode}): {reason}\nA language is installed by "
                "apt-get install tesseract-ocr-LANGUAGE, with `languages` naming it."
            )
        return _read_tsv(done.stdout.decode("utf-8", "replace"))


def _read_tsv(tsv: str) -> Reading:
    rows = csv.DictReader(tsv.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    words: list[dict[str, Any]] = [
        row | {"conf": float(row["conf"]) / 100} for row in rows if row["text"] and row["text"].strip()
    ]
    paragraphs = []
    for _, paragraph in groupby(
        [word for word in words if word["conf"] >= _SPECKS],
        key=lambda row: (row["block_num"], row["par_num"]),
    ):
        lines = [list(line) for _, line in groupby(paragraph, key=lambda row: row["line_num"])]
        paragraphs.append("\n".join(" ".join(row["text"] for row in line) for line in lines))
    return Reading("\n\n".join(paragraphs), fmean([word["conf"] for word in words] or [0]))


class RapidOcr:
    """The package `rapidocr`: slower, needs only pip, and reads English and Chinese whatever is expected."""

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise DocumentError(
                f"The package rapidocr, which ocr=rapidocr names, is not there. {INSTALL}."
            ) from error
        settings = {
            "Global.log_level": "critical",
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        self._read = RapidOCR(params=settings)

    def __call__(self, image: "Image") -> Reading:
        """Read the lines in the order of their columns."""
        import numpy

        found: Any = self._read(numpy.asarray(image.convert("RGB")), use_cls=False)
        if found.boxes is None:
            return Reading("", 0)
        boxes = [
            TextBox(text, *map(float, (*box.min(axis=0), *box.max(axis=0))))
            for text, box in zip(found.txts, found.boxes, strict=True)
        ]
        return Reading("\n".join(reading_order(boxes)), fmean(found.scores))


@lru_cache(maxsize=1)
def _rapid_ocr() -> RapidOcr:
    """Keep the engine, which takes a second and most of a gigabyte to load."""
    return RapidOcr()

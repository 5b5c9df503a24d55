"""Keeps what Chroma's files of vectors hold to vectors."""

import struct
from pathlib import Path

_HEADER = struct.Struct("<4x8x8xQQ")
"""Of `header.bin`: how many vectors the files beside it hold, and the bytes of each in `data_level0.bin`."""
_NORM = 4


def wipe_unfilled(segment: Path) -> None:
    """Overwrite what lies behind the vectors of a segment's files; nobody else may be writing to it.

    hnswlib writes the room that it took for vectors to come as it found it in memory, and any text may have
    lain there before: https://github.com/chroma-core/chroma/issues/7688.
    """
    try:
        filled, size = _HEADER.unpack_from((segment / "header.bin").read_bytes())
    except (FileNotFoundError, struct.error):  # it has no files yet
        return
    _wipe_behind(segment / "data_level0.bin", filled * size)
    _wipe_behind(segment / "length.bin", filled * _NORM)


def _wipe_behind(file: Path, end: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(end)
        if any(rest := opened.read()):
            opened.seek(end)
            opened.write(bytes(len(rest)))

"""Reads pictures by OCR; a picture of several frames, such as a fax in TIFF, has as many pages."""

import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING

from markgraph.documents.ocr import find_engine, install_hint
from markgraph.documents.options import DEFAULTS, ReadOptions
from markgraph.documents.pages import check_count, check_ocr_count, join_pages
from markgraph.documents.text import stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MOST_PIXELS = 100_000_000
"""A page of A3 at 600 dots per inch has 70 million."""
_SMALL = 1000
"""Pixels across: a picture of fewer is taken for one at a screen's resolution, and enlarged to twice that."""


def read_image(data: bytes, source: str, options: ReadOptions = DEFAULTS) -> Document:
    """Read a picture; its title is the file's name.

    Raises:
        DocumentError: when it is damaged, too large, has too many frames, or OCR is missing or finds no text.
    """
    from PIL import Image

    engine = find_engine(options)
    if engine is None:
        raise DocumentError(f"{source} is a picture. {install_hint(options)}")
    try:
        texts = [engine.read(frame) for frame in _frames(data, source, options)]
    # Pillow raises what the damage trips: UnidentifiedImageError, SyntaxError, struct.error, OSError, ...
    except DocumentError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(source, "too many") from error
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as a picture ({type(error).__name__}: {error}). It is damaged, or another "
            "format under this suffix: open it in a viewer and save it as PNG."
        ) from error
    if not any(texts):
        raise DocumentError(f"{source} is a picture, and OCR found no text on it. Leave it out.")
    return join_pages(source, stem(source), texts, range(len(texts)))


def _frames(data: bytes, source: str, options: ReadOptions) -> Iterator["Image"]:
    """Yield the frames upright, on white."""
    from PIL import Image, ImageOps, ImageSequence

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of flaws, and of sizes, which are looked at below
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            count = getattr(image, "n_frames", 1)
            check_count(count, source, options)
            check_ocr_count(count, source, options)
            for frame in ImageSequence.Iterator(image):
                if frame.width * frame.height > _MOST_PIXELS:
                    raise _too_large(source, f"{frame.width:,} x {frame.height:,}")
                yield _on_white(ImageOps.exif_transpose(frame))


def _too_large(source: str, pixels: str) -> DocumentError:
    return DocumentError(f"{source} has {pixels} pixels; {_MOST_PIXELS:,} are allowed. Scale it down.")


def _on_white(frame: "Image") -> "Image":
    from PIL import Image

    if frame.has_transparency_data:
        layer = frame.convert("RGBA")
        frame = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    elif frame.mode.startswith("I;16"):
        frame = frame.point(lambda value: value / 256)
    grey = frame.convert("L")
    if grey.width < _SMALL:
        factor = 2 * _SMALL / grey.width
        grey = grey.resize((2 * _SMALL, max(1, round(grey.height * factor))))
    return grey

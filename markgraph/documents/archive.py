"""Guards against archives that unpack to more than memory holds: DOCX, PPTX and XLSX are ZIP files."""

from io import BytesIO
from zipfile import ZipFile

_MOST_BYTES = 2**30


def check_size(data: bytes) -> None:
    """Look at what a ZIP file says it unpacks to; Python's reader gives no byte more than is said there.

    Raises:
        ValueError: when that is more than `_MOST_BYTES`.
        zipfile.BadZipFile: when it is no ZIP file.
    """
    with ZipFile(BytesIO(data)) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"it unpacks to {size} bytes, of which {_MOST_BYTES} are allowed")

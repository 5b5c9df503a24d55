"""Writes PDFs by hand: reportlab would be one more dependency."""

import io
import zlib
from collections.abc import Sequence

import pypdf

PAGE = "/Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> {0} >>"


def write_pdf(*pages: str, info: str = "") -> bytes:
    """Write one string a page and one line a line."""
    return draw_pdf(*map(show, pages), info=info)


def show(page: str, x: int = 60, y: int = 700) -> str:
    """Return what draws the lines of `page`, the first at (x, y)."""
    drawn = " T* ".join(f"({line}) Tj" for line in page.split("\n"))
    return f"BT /F1 11 Tf 14 TL {x} {y} Td {drawn} ET\n" if page else ""


def draw_pdf(
    *streams: str, info: str = "", page: str = "", resources: str = "", more: Sequence[bytes] = ()
) -> bytes:
    """Write a page for each of `streams` of drawing operators; `more` are objects, from number 4 on."""
    first = 4 + len(more)
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(streams)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        *more,
    ]
    for number, stream in enumerate(streams):
        contents = f"/Contents {first + 1 + 2 * number} 0 R"
        bodies.append(f"<< {PAGE.format(resources)} {page} {contents} >>".encode())
        bodies.append(stream_object(stream.encode("latin-1")))
    bodies.append(f"<< {info} >>".encode())
    return join_objects(bodies, f"/Info {len(bodies)} 0 R")


def stream_object(data: bytes, entries: str = "") -> bytes:
    """Return a stream as the body of an object."""
    return f"<< /Length {len(data)} {entries} >>\nstream\n".encode() + data + b"\nendstream"


def image_object(pixels: bytes, width: int, height: int) -> bytes:
    """Return grey `pixels` as the body of an object."""
    form = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray"
    return stream_object(zlib.compress(pixels), f"{form} /BitsPerComponent 8 /Filter /FlateDecode")


def join_objects(bodies: Sequence[bytes], trailer: str = "") -> bytes:
    """Return a file of objects, numbered from 1, the first of them the catalogue."""
    data, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(bodies, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(bodies) + 1
    end = f"trailer << /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(data)}\n%%EOF\n"
    return bytes(data) + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def encrypt(data: bytes, password: str, algorithm: str = "RC4-128") -> bytes:
    """Return `data` as it can be opened with `password` only."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()

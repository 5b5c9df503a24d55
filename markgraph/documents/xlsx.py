"""Reads XLSX and XLSM: each sheet is a page, with its name as heading and its rows as a table.

A formula is read as the value that was last computed for it, so one that was never computed is empty. Macros
are not looked at. Does NOT read hidden sheets (which are named), charts, pictures and comments.
"""

import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from markgraph.documents.archive import check_size
from markgraph.documents.shown import shown
from markgraph.documents.tables import Cell, row_blocks
from markgraph.documents.text import Block, assemble, clean, join, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_MOST_CELLS = 5_000_000
_MOST_ROWS = 2**20
_MOST_CHARACTERS = 2**26


def read_xlsx(data: bytes, source: str) -> Document:
    """Read a workbook; its title is the one in its properties, else the file's name.

    `metadata["hidden_sheets"]` names the sheets that are hidden.

    Raises:
        DocumentError: when it is damaged, encrypted, no XLSX at all, or has too many cells.
    """
    from openpyxl import load_workbook

    try:
        check_size(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells what it would not write back
            package = load_workbook(BytesIO(data), read_only=True, data_only=True, keep_links=False)
            sheets = [sheet for sheet in package.worksheets if sheet.sheet_state == "visible"]
            text, headings, pages = join(assemble(_sheet(sheet)) for sheet in sheets)
        hidden = [clean(sheet.title) for sheet in package.worksheets if sheet not in sheets]
        title = clean(package.properties.title or "").strip()
    # openpyxl lets through whatever zipfile, the parser and a missing part raise: BadZipFile, KeyError, ...
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as XLSX ({type(error).__name__}: {error}). It is damaged, encrypted, "
            "too large, or another format under this suffix: open it in a spreadsheet and save it as XLSX."
        ) from error
    return Document(
        source=source,
        text=text,
        title=title or stem(source),
        headings=headings,
        pages=pages,
        metadata={"hidden_sheets": ", ".join(hidden)} if hidden else {},
    )


def _sheet(sheet: Any) -> Iterator[Block]:
    """Yield the name of a sheet and its rows, none where all cells are empty."""
    rows = list(row_blocks(_cells(sheet), sheet))
    if rows:
        yield Block(sheet.title, level=1)
    yield from rows


def _cells(sheet: Any) -> Iterator[list[Cell]]:
    """Yield the cells of each row.

    Raises:
        ValueError: when they are more than a document may have.
    """
    sheet.reset_dimensions()  # what the file says of them may be wrong
    cells = characters = 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        texts = [shown(cell.value, cell.number_format) if cell.value is not None else "" for cell in row]
        cells += len(texts)
        characters += sum(map(len, texts))
        if cells > _MOST_CELLS or characters > _MOST_CHARACTERS or number > _MOST_ROWS:
            raise ValueError(
                f"sheet {sheet.title!r} goes beyond {_MOST_CELLS} cells, {_MOST_ROWS} rows or "
                f"{_MOST_CHARACTERS} characters"
            )
        yield [Cell(text) for text in texts]

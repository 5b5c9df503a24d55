"""The texts of a corpus become rows, with who may read them."""

from pathlib import Path

import pytest

from markgraph.errors import UsageError
from markgraph.ingestion.corpora import Folder
from markgraph.training.data.text import UNREADABLE, Text


def rows(folder: Path, **settings: object) -> tuple[list, list[tuple[str, str, str]]]:
    left: list[tuple[str, str, str]] = []
    source = Text(Folder(folder), **settings)  # type: ignore[arg-type]
    return list(source.rows("text", lambda *told: left.append(told))), left


def test_each_document_is_a_row_and_an_empty_one_is_left_out_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Terms\n\nPayment is due.\n", "utf-8")
    (tmp_path / "b.txt").write_text("  \n", "utf-8")
    made, left = rows(tmp_path, readers=["g:legal"], classification="internal")
    (row,) = made
    assert "Payment is due." in row["text"]
    assert row["text"].startswith("Terms\n\n")
    assert (row["readers"], row["classification"]) == (["g:legal"], 1)
    assert [Path(each).name for each in row["documents"]] == ["a.md"]
    assert [(reason, Path(id_).name) for _, reason, id_ in left] == [(UNREADABLE, "b.txt")]
    assert rows(tmp_path)[0][0]["readers"] == [], "nobody is known to be a reader"
    assert rows(tmp_path)[0][0]["id"] == row["id"]


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Payment is due.", "utf-8")
    with pytest.raises(UsageError, match=r"has no rows of kind 'chat'\. Allowed: text"):
        list(Text(Folder(tmp_path)).rows("chat", lambda *_: None))

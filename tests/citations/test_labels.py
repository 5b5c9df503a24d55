"""Paragraphs and points are told from the markers before them."""

import re

from markgraph.citations.labels import label_at, labels


def by_text(text: str) -> dict[str, tuple[str, ...]]:
    """Return the label of each word of `text` in capitals."""
    found = labels(text)
    return {match[0]: label_at(found, match.start()) for match in re.finditer(r"[A-Z]{3,}\b", text)}


def test_european_paragraphs_and_points_within_one_line() -> None:
    text = (
        "Lawfulness BEFORE 1. Processing ONE: (a) consent POINTA; (b) contract as in Article 9(2) POINTB. "
        "2. Paragraph 1 as in point (f) TWO. 3. Each THREE"
    )
    assert by_text(text) == {
        "BEFORE": (),
        "ONE": ("1",),
        "POINTA": ("1", "a"),
        "POINTB": ("1", "b"),
        "TWO": ("2",),
        "THREE": ("3",),
    }


def test_american_subsections_on_lines() -> None:
    text = (
        "(a)(1) ONE:\n(A) DEEP\n(i) DEEPER\n(ii) TWICE\n(B) BACK\n(2) NEXT\n(b) OUT\n(b-1) INSERTED\n(c) LAST"
    )
    assert by_text(text) == {
        "ONE": ("a", "1"),
        "DEEP": ("a", "1", "A"),
        "DEEPER": ("a", "1", "A", "i"),
        "TWICE": ("a", "1", "A", "ii"),
        "BACK": ("a", "1", "B"),
        "NEXT": ("a", "2"),
        "OUT": ("b",),
        "INSERTED": ("b-1",),
        "LAST": ("c",),
    }


def test_the_letter_i_follows_h() -> None:
    text = "\n".join(f"({letter}) {letter.upper() * 3}" for letter in "abcdefghij")
    assert by_text(text)["III"] == ("i",)
    assert by_text(text)["JJJ"] == ("j",)

"""Terms are found where they are defined, and where they are used."""

import pytest

from markgraph.citations.definitions import definitions, uses


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("‘personal data’ means any information", ["personal data"]),
        ("'personal data' means any information", ["personal data"]),
        ('"Term" means the period', ["Term"]),
        ("“Consumer” or “Buyer” means a person", ["Consumer", "Buyer"]),
        ("“Good faith” shall have the same meaning as", ["Good faith"]),
        ("‘AI system’, in relation to robots, means", ["AI system"]),
        ("**Affiliate** means a company", ["Affiliate"]),
        ('made by A Ltd (the "Supplier") and B (hereinafter “Customer”)', ["Supplier", "Customer"]),
        ('this agreement (together, the "Agreement")', ["Agreement"]),
        ("‘processor’ means a person", []),
        ('he said "Go away" and left', []),
        ('so much for "quality" (in "some" sense)', []),
    ],
)
def test_finds_defined_terms(text: str, terms: list[str]) -> None:
    assert [each.term for each in definitions(text)] == terms


@pytest.mark.parametrize(
    ("text", "term", "is_used"),
    [
        ("Personal  data shall be erased", "personal data", True),
        ("impersonal data", "personal data", False),
        ("a personal data breach", "personal data breach", True),
        ("The Supplier delivers", "Supplier", True),
        ("Suppliers deliver", "Supplier", True),
        ("a supplier delivers", "Supplier", False),
        ("the SupplierX", "Supplier", False),
    ],
)
def test_tells_where_a_term_is_used(text: str, term: str, is_used: bool) -> None:
    assert uses(text, term) is is_used

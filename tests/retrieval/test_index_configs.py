"""Every configured index asks which generation of vectors serves."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

CONF = Path(__file__).parents[2] / "conf" / "index"


def bare_stores(part: object, above: str = "") -> Iterator[str]:
    """Yield the classes with generations that are not asked which of them serves."""
    if isinstance(part, list):
        for each in part:
            yield from bare_stores(each)
    elif isinstance(part, dict):
        module, _, kind = part.get("_target_", "").rpartition(".")
        made = getattr(import_module(module), kind) if module else None
        if above != "SwitchableIndex" and hasattr(made, "generations"):
            yield kind
        for each in part.values():
            yield from bare_stores(each, kind)


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_no_index_reads_or_writes_vectors_that_a_move_has_replaced(file: Path) -> None:
    assert list(bare_stores(yaml.safe_load(file.read_text("utf-8")))) == []

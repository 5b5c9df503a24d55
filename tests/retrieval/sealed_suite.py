"""What every index must do with a keyring, beyond what every index must."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import SealError, ShreddedError
from markgraph.retrieval.types import Chunk, Hit
from markgraph.security.permissions import Permissions
from markgraph.security.sealing.keyring import Keyring
from tests.retrieval.index_suite import ANNA, BEN, OTHER_TENANT, chunk, found

TEXTS = [
    "invoices are due within thirty days of receipt",
    "the supplier is liable for damage",
    "a breach is notified within three days",
    "invoices invoices of the supplier",
]
CANARIES = ["canarytext", "canarytitle", "canarysource", "canaryheading", "canaryvalue"]
SECRET = Chunk(
    "canarytext and more",
    "canarysource",
    "canarytitle",
    0,
    19,
    heading=("canaryheading",),
    readers=("public",),
    metadata={"key": "canaryvalue"},
)


def rank(hit: Hit) -> tuple[float, str]:
    """Return what sorts hits, equal ones in one order: Postgres has none for them."""
    return -hit.score, hit.chunk.id


class SealedSuite:
    """Subclass it and give `make` and `dump`."""

    def make(self, path: Path, seal: Keyring | None) -> Any:
        """Return the index under test, opened on `path`, with a keyring or without."""
        raise NotImplementedError  # abstract

    def dump(self, path: Path) -> bytes:
        """Return every byte that is kept."""
        return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        made = tmp_path / "index"
        made.mkdir()
        return made

    def test_nothing_lies_in_clear_but_ids_and_permissions(self, folder: Path, keyring: Keyring) -> None:
        index = self.make(folder, keyring)
        index.add([SECRET])
        assert found(index, "canarytext", ANNA) == {SECRET.text}
        kept = self.dump(folder)
        assert [canary for canary in CANARIES if canary.encode() in kept] == []
        assert SECRET.id.encode() in kept

    def test_without_a_keyring_all_of_it_does(self, folder: Path) -> None:
        # Else the test above would prove nothing.
        self.make(folder, None).add([SECRET])
        kept = self.dump(folder)
        assert [canary for canary in CANARIES if canary.encode() not in kept] == []

    def test_ranks_as_without(self, folder: Path, tmp_path: Path, keyring: Keyring) -> None:
        (tmp_path / "plain").mkdir()
        indexes = [self.make(folder, keyring), self.make(tmp_path / "plain", None)]
        for index in indexes:
            chunks = [chunk(text, source=str(at)) for at, text in enumerate(TEXTS * 5)]
            index.add(chunks)
            index.remove([chunks[3].id])
            index.permit([chunks[0].id], Permissions("default", ("u:ben",), 0))
        for query in (*TEXTS, "supplier", "days breach notified"):
            for caller in (ANNA, BEN):
                sealed, plain = (index.search(query, caller, 20) for index in indexes)
                assert sorted(sealed, key=rank) == sorted(plain, key=rank)

    def test_sealed_documents_are_refused_without_a_keyring(self, folder: Path, keyring: Keyring) -> None:
        self.make(folder, keyring).add([SECRET])
        other = self.make(folder, None)
        for act in (lambda: other.search("canarytext", ANNA, 1), lambda: other.get([SECRET.id], ANNA)):
            with pytest.raises(SealError, match=r"are sealed.*seal=none. Set seal=keyring"):
                act()

    def test_documents_in_clear_are_refused_with_one(self, folder: Path, keyring: Keyring) -> None:
        self.make(folder, None).add([SECRET])
        other = self.make(folder, keyring)
        adding = lambda: other.add([chunk("more")])  # noqa: E731
        for act in (lambda: other.search("canarytext", ANNA, 1), other.scan, adding):
            with pytest.raises(SealError, match=r"are not sealed.*markgraph keys reseal"):
                act()

    def test_resealing_seals_what_lies_in_clear(self, folder: Path, keyring: Keyring) -> None:
        plain = self.make(folder, None)
        more = [chunk(text, "g:legal", source=str(at)) for at, text in enumerate(TEXTS)]
        plain.add([SECRET, *more])
        before = plain.search("canarytext supplier", ANNA, 10)
        del plain
        index = self.make(folder, keyring)
        assert (index.reseal(), index.reseal()) == (1 + len(TEXTS), 0)
        kept = self.dump(folder)
        assert [canary for canary in [*CANARIES, "supplier"] if canary.encode() in kept] == []
        for each in (index, self.make(folder, keyring)):
            assert each.search("canarytext supplier", ANNA, 10) == before
            assert found(each, "canarytext", BEN) == {SECRET.text}

    def test_resealing_after_a_rotation_leaves_nothing_under_the_old_key(
        self, folder: Path, keyring: Keyring
    ) -> None:
        index = self.make(folder, keyring)
        index.add([SECRET])
        keyring.rotate()
        assert (index.reseal(), index.reseal()) == (1, 0)
        with keyring._table.transaction() as database:
            database.execute("DELETE FROM data_keys WHERE number = 1")
        other = self.make(folder, Keyring(keyring.file, keyring.path))
        assert other.search("canarytext", ANNA, 1)[0].chunk == SECRET

    def test_a_shredded_tenant_is_gone_and_others_are_not(self, folder: Path, keyring: Keyring) -> None:
        index = self.make(folder, keyring)
        other = replace(SECRET, tenant="other")
        index.add([SECRET, other])
        keyring.shred("default")
        with pytest.raises(ShreddedError):
            index.search("canarytext", ANNA, 1)
        with pytest.raises(ShreddedError):
            index.add([SECRET])
        assert found(index, "canarytext", OTHER_TENANT) == {SECRET.text}
        assert index.scan() == [other]
        keyring.rotate()
        assert index.reseal() == 1
        index.remove([SECRET.id])
        assert len(index) == 1

"""The conformance suite of the `Index` port: subclass it and give `make_index`."""

from dataclasses import replace
from pathlib import Path

import pytest

from markgraph.errors import DeniedError
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

ANNA = Caller("anna", ("reader",), groups=("legal",))
BEN = Caller("ben", ("reader",))
OTHER_TENANT = Caller("anna", ("reader",), tenant="other", groups=("legal",))


def chunk(text: str, *readers: str, source: str = "doc", start: int = 0, tenant: str = "default") -> Chunk:
    """Return a chunk of `text` at `start`."""
    return Chunk(
        text, source, source, start, start + len(text), tenant=tenant, readers=readers or ("public",)
    )


class IndexSuite:
    """What every index must do."""

    def make_index(self, path: Path) -> Index:
        """Return the index under test, opened on `path`; called again, it opens what is there."""
        raise NotImplementedError  # abstract

    @pytest.fixture
    def index(self, tmp_path: Path) -> Index:
        return self.make_index(tmp_path)

    def test_finds_what_was_added(self, index: Index) -> None:
        index.add([chunk("invoices are due within thirty days"), chunk("cats sleep all day", source="b")])
        hits = index.search("when are invoices due", ANNA, 1)
        assert [hit.chunk.text for hit in hits] == ["invoices are due within thirty days"]

    def test_gives_back_every_field(self, index: Index) -> None:
        whole = Chunk(
            "payment is due",
            "file.pdf",
            "Terms",
            12,
            26,
            heading=("Terms", "Payment"),
            page=3,
            readers=("g:legal", "u:ben"),
            classification=0,
            before="b" * 32,
            after="a" * 32,
            metadata={"regulation": "GDPR"},
        )
        index.add([whole])
        assert index.search("payment", ANNA, 1)[0].chunk == whole

    def test_has_a_name_for_results(self, index: Index) -> None:
        assert index.name.isidentifier()

    def test_an_empty_index_finds_nothing(self, index: Index) -> None:
        assert index.search("anything", ANNA, 5) == []
        assert len(index) == 0

    def test_nobody_is_refused(self, index: Index) -> None:
        index.add([chunk("payment")])
        with pytest.raises(DeniedError):
            index.search("payment", Caller(), 5)

    def test_hides_what_a_caller_may_not_read(self, index: Index) -> None:
        index.add(
            [
                chunk("payment for legal", "g:legal", source="a"),
                chunk("payment for ben", "u:ben", source="b"),
                chunk("payment for all", "public", source="c"),
                chunk("payment for anna elsewhere", "u:anna", source="d", tenant="other"),
            ]
        )
        assert found(index, "payment", ANNA) == {"payment for legal", "payment for all"}
        assert found(index, "payment", BEN) == {"payment for ben", "payment for all"}
        assert found(index, "payment", OTHER_TENANT) == {"payment for anna elsewhere"}

    def test_what_is_hidden_takes_no_place_among_k(self, index: Index) -> None:
        index.add([chunk("payment payment payment", "u:ben", source=f"b{n}") for n in range(20)])
        index.add([chunk("payment of something else altogether", source="a")])
        assert found(index, "payment", ANNA, k=1) == {"payment of something else altogether"}

    def test_a_chunk_without_readers_is_nobodys(self, index: Index) -> None:
        index.add([Chunk("payment", "a", "a", 0, 7)])
        assert found(index, "payment", ANNA) == set()

    def test_taking_a_permission_away_works_at_once(self, index: Index) -> None:
        index.add([chunk("payment", "g:legal")])
        assert found(index, "payment", ANNA) == {"payment"}
        index.add([chunk("payment", "u:ben")])
        assert found(index, "payment", ANNA) == set()
        assert found(index, "payment", BEN) == {"payment"}

    def test_hides_what_a_caller_is_not_cleared_for(self, index: Index) -> None:
        index.add(
            [
                replace(chunk(f"payment {level}", source=str(level)), classification=level)
                for level in range(4)
            ]
        )
        assert found(index, "payment", ANNA) == {"payment 0"}
        cleared = Caller("anna", ("reader",), clearance=2)
        assert found(index, "payment", cleared) == {"payment 0", "payment 1", "payment 2"}

    def test_changed_permissions_hold_from_the_next_search_on(self, index: Index) -> None:
        kept, changed = chunk("payment kept", "g:legal"), chunk("payment changed", "g:legal", source="b")
        index.add([kept, changed])
        assert found(index, "payment", ANNA) == {"payment kept", "payment changed"}
        index.permit([changed.id, "unknown"], Permissions("default", ("u:ben",), 0))
        assert found(index, "payment", ANNA) == {"payment kept"}
        assert found(index, "payment", BEN) == {"payment changed"}
        index.permit([changed.id], Permissions("default", (), 0))
        assert found(index, "payment", BEN) == set()
        index.permit([changed.id], Permissions("default", ("public",), 1))
        assert found(index, "payment", BEN) == set()
        index.permit([changed.id], Permissions("default", ("public",), 0))
        assert found(index, "payment", BEN) == {"payment changed"}

    def test_a_chunk_stays_with_its_tenant(self, index: Index) -> None:
        index.add([chunk("payment")])
        with pytest.raises(ValueError, match="belongs to tenant 'default'"):
            index.permit([chunk("payment").id], Permissions("other", ("public",), 0))
        assert found(index, "payment", OTHER_TENANT) == set()

    def test_gets_by_id_what_a_caller_may_read_in_the_order_asked(self, index: Index) -> None:
        mine, public = chunk("mine", "g:legal"), chunk("public", source="b")
        foreign = chunk("foreign", "public", source="c", tenant="other")
        secret = replace(chunk("secret", source="d"), classification=1)
        index.add([mine, public, foreign, secret])
        ids = [public.id, "unknown", secret.id, foreign.id, mine.id]
        assert index.get(ids, ANNA) == [public, mine]
        assert index.get(ids, BEN) == [public]
        assert index.get(ids, OTHER_TENANT) == [foreign]
        assert index.get([], ANNA) == []
        with pytest.raises(DeniedError):
            index.get(ids, Caller())

    def test_scans_every_chunk_in_pages(self, index: Index) -> None:
        assert index.scan() == []
        chunks = [chunk(f"text {n}", "u:ben", source=str(n), tenant="ab"[n % 2]) for n in range(7)]
        index.add(chunks)
        seen: list[Chunk] = []
        while page := index.scan(seen[-1].id if seen else "", limit=3):
            assert len(page) <= 3
            seen += page
        assert seen == sorted(chunks, key=lambda each: each.id)

    def test_adding_twice_changes_nothing(self, index: Index) -> None:
        for _ in range(2):
            index.add([chunk("payment"), chunk("delivery", source="b")])
        assert len(index) == 2
        assert len(index.search("payment", ANNA, 5)) <= 2

    def test_removes_by_id_and_ignores_unknown_ids(self, index: Index) -> None:
        gone, stays = chunk("payment is gone"), chunk("payment stays", source="b")
        index.add([gone, stays])
        index.remove([gone.id, "unknown"])
        index.remove([])
        assert found(index, "payment", ANNA) == {"payment stays"}

    def test_what_was_added_is_there_when_opened_again(self, index: Index, tmp_path: Path) -> None:
        index.add([chunk("payment")])
        assert found(self.make_index(tmp_path), "payment", ANNA) == {"payment"}

    def test_sees_what_another_handle_wrote(self, index: Index, tmp_path: Path) -> None:
        index.add([chunk("payment")])
        assert found(index, "payment", ANNA) == {"payment"}
        self.make_index(tmp_path).add([chunk("payment again", source="b")])
        assert found(index, "payment", ANNA) == {"payment", "payment again"}

    def test_what_another_handle_takes_away_is_gone_at_the_next_search(
        self, index: Index, tmp_path: Path
    ) -> None:
        denied, removed = chunk("payment denied", "g:legal"), chunk("payment removed", source="b")
        index.add([denied, removed])
        assert found(index, "payment", ANNA) == {"payment denied", "payment removed"}
        other = self.make_index(tmp_path)
        other.permit([denied.id], Permissions("default", ("u:ben",), 0))
        assert found(index, "payment", ANNA) == {"payment removed"}
        assert index.get([denied.id], ANNA) == []
        other.remove([removed.id])
        assert found(index, "payment", ANNA) == set()
        assert len(index) == 1

    def test_scores_fall(self, index: Index) -> None:
        index.add([chunk(f"payment {'filler ' * n}", source=str(n)) for n in range(6)])
        scores = [hit.score for hit in index.search("payment", ANNA, 6)]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 6


def found(index: Index, query: str, caller: Caller, k: int = 10) -> set[str]:
    """Return the texts that `caller` finds."""
    return {hit.chunk.text for hit in index.search(query, caller, k)}

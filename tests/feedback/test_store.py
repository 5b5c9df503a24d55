"""What is said of answers is kept in order, sealed where that is asked for, and for one tenant each."""

from pathlib import Path

import pytest

from markgraph.errors import SealError, ShreddedError
from markgraph.feedback.store import PAGE, FeedbackStore
from markgraph.feedback.types import Feedback, Rating
from markgraph.security.sealing.keyring import Keyring


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "masters.json", tmp_path / "keys.sqlite")
    made.rotate()
    return made


def said(run: str, rating: Rating = "up", tenant: str = "acme") -> Feedback:
    return Feedback(
        id=f"{run}-{rating}",
        time="2026-11-28T03:00:00.000+00:00",
        tenant=tenant,
        subject="anna",
        run_id=run,
        graph="qa",
        question="canary question",
        answer="canary answer",
        refused=False,
        messages=[{"role": "user", "content": "canary prompt"}],
        completion="canary draft",
        documents=["canary.md"],
        chunks=["c1"],
        model="fake",
        config="",
        rating=rating,
        correction="canary correction",
        comment=None,
    )


def test_the_last_word_on_a_run_counts_and_tenants_are_apart(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    assert [*store.latest("acme")] == []
    for each in (said("r1"), said("r2"), said("r1", "down"), said("r1", tenant="other")):
        store.add(each)
    again = FeedbackStore(tmp_path / "feedback.sqlite")
    assert [*again.latest("acme")] == [said("r2"), said("r1", "down")]
    assert [*again.latest("other")] == [said("r1", tenant="other")]


def test_more_rows_than_a_page_come_once_each(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite")
    names = [f"r{number}" for number in range(PAGE + 3)]
    for name in names:
        store.add(said(name))
    assert [each["run_id"] for each in store.latest("acme")] == names


def test_nothing_lies_in_clear_with_a_keyring(tmp_path: Path, keyring: Keyring) -> None:
    file = tmp_path / "store" / "feedback.sqlite"
    sealed = FeedbackStore(file, keyring)
    sealed.add(said("r1"))
    assert [*sealed.latest("acme")] == [said("r1")]
    kept = b"".join(each.read_bytes() for each in file.parent.iterdir())
    assert b"canary" not in kept
    assert b"anna" not in kept
    with pytest.raises(SealError, match="there is no keyring: seal=none"):
        [*FeedbackStore(file).latest("acme")]


def test_a_row_opens_only_where_it_was_put(tmp_path: Path, keyring: Keyring) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite", keyring)
    store.add(said("r1"))
    store.add(said("r2"))
    store._database.execute("UPDATE feedback SET body = (SELECT body FROM feedback WHERE run = 'r1')")
    with pytest.raises(SealError, match="does not open"):
        [*store.latest("acme")]


def test_what_lay_in_clear_is_refused_until_it_is_sealed(tmp_path: Path, keyring: Keyring) -> None:
    file = tmp_path / "store" / "feedback.sqlite"
    FeedbackStore(file).add(said("r1"))
    sealed = FeedbackStore(file, keyring)
    with pytest.raises(SealError, match="is not sealed"):
        [*sealed.latest("acme")]
    assert (sealed.reseal(), sealed.reseal()) == (1, 0)
    assert [*sealed.latest("acme")] == [said("r1")]
    assert b"canary" not in b"".join(each.read_bytes() for each in file.parent.iterdir())
    keyring.rotate()
    assert sealed.reseal() == 1


def test_what_a_shredded_tenant_said_is_lost(tmp_path: Path, keyring: Keyring) -> None:
    store = FeedbackStore(tmp_path / "feedback.sqlite", keyring)
    store.add(said("r1"))
    store.add(said("r2", tenant="other"))
    keyring.shred("acme")
    with pytest.raises(ShreddedError):
        [*store.latest("acme")]
    with pytest.raises(ShreddedError):
        store.add(said("r3"))
    assert store.reseal() == 0
    assert len([*store.latest("other")]) == 1

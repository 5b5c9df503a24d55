"""What was read is kept on disk so that only the right people, with the key, get anything out of it."""

import json
from pathlib import Path

import pytest
import torch

from markgraph.engines.native.prefix import PrefixCache
from markgraph.engines.native.state_cache import StateCache
from markgraph.errors import StorageError
from tests.engines.recording import Read, Recorder, fingerprint, tokens_of
from tests.engines.sealed import DOCUMENT, PLENTY, QUESTION, Process, states


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "states"


def test_brings_back_the_very_numbers(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    (state,) = Process(folder).cache.longest(QUESTION, "ada", None)
    assert torch.equal(state.tensors["state"], fingerprint(DOCUMENT))
    assert (state.start, state.end) == (0, len(DOCUMENT))


def test_brings_back_bfloat16_blocks_as_far_as_they_follow_one_another(folder: Path) -> None:
    Process(folder, cumulative=False).keep(DOCUMENT)
    found = Process(folder, cumulative=False).cache.longest(QUESTION, "ada", None)
    assert tokens_of(found) == [*torch.tensor(DOCUMENT).bfloat16().int().tolist()]
    assert found[0].tensors["keys.0"].dtype == torch.bfloat16
    third = next(file for file in states(folder) if "-24-" in file.name)
    third.unlink()
    assert Process(folder, cumulative=False).reused(QUESTION) == 16


def test_leaves_nothing_readable_in_the_folder(folder: Path) -> None:
    canary = b"the merger closes on the 3rd of May"
    numbers = torch.frombuffer(bytearray(canary.ljust(128)), dtype=torch.float32)

    class Canary(Recorder):
        def save(self, state: Read, start: int) -> object:
            saved = super().save(state, start)
            saved.tensors["state"].copy_(numbers)
            return saved

    disk = StateCache(folder, PLENTY, "a model's name")
    cache = PrefixCache(Canary(cumulative=True), PLENTY, disk)
    cache.keep(DOCUMENT, Read(DOCUMENT), "tenant-of-ada", None)
    disk.flush()
    (restored,) = PrefixCache(Recorder(True), PLENTY, StateCache(folder, PLENTY, "a model's name")).longest(
        QUESTION, "tenant-of-ada", None
    )
    assert torch.equal(restored.tensors["state"], numbers), "the canary was never there"
    for file in folder.parent.rglob("*"):
        content = file.name.encode() + (file.read_bytes() if file.is_file() else b"")
        for secret in (canary, canary[4:16], b"tenant-of-ada", b'state":', b"a model's name"):
            assert secret not in content, file


def test_names_files_so_that_a_guess_of_the_content_cannot_be_checked(tmp_path: Path) -> None:
    for home in ("a", "b"):
        Process(tmp_path / home / "states").keep(DOCUMENT)
    (first,), (second,) = (states(tmp_path / home / "states") for home in ("a", "b"))
    assert set(first.stem.split("-")) & set(second.stem.split("-")) == {str(len(DOCUMENT))}


def test_opens_for_its_owner_alone(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    files = [folder, folder.with_name("states.keys.json"), *states(folder)]
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o700", "0o600", "0o600"]


@pytest.mark.parametrize(
    ("scope", "adapter", "model"), [("bob", None, "m1"), ("ada", "legal", "m1"), ("ada", None, "m2")]
)
def test_shows_nobody_the_states_of_another(
    folder: Path, scope: str, adapter: str | None, model: str
) -> None:
    Process(folder).keep(DOCUMENT)
    assert Process(folder, model=model).reused(QUESTION, scope, adapter) == 0
    assert Process(folder).reused(QUESTION) == len(DOCUMENT)


@pytest.mark.parametrize(
    ("scope", "adapter", "tokens"), [("bob", None, 40), ("ada", "legal", 40), ("ada", None, 41)]
)
def test_refuses_a_file_that_took_the_place_of_another(
    folder: Path, scope: str, adapter: str | None, tokens: int
) -> None:
    Process(folder).keep(DOCUMENT)
    (ours,) = states(folder)
    Process(folder).keep(QUESTION[:tokens], scope, adapter)
    (theirs,) = set(states(folder)) - {ours}
    theirs.write_bytes(ours.read_bytes())
    late = Process(folder)
    assert late.reused(QUESTION, scope, adapter) in (0, len(DOCUMENT)), "a state of its own may be left"
    assert late.disk.stats.refused == 1
    assert not theirs.exists()


def test_refuses_a_state_of_which_any_byte_has_changed(folder: Path) -> None:
    Process(folder).keep(DOCUMENT)
    (file,) = states(folder)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        late = Process(folder)
        assert late.reused(QUESTION) == 0
        assert late.disk.stats.refused == 1
        assert not file.exists()
    file.write_bytes(whole)
    assert Process(folder).reused(QUESTION) == len(DOCUMENT)


@pytest.mark.parametrize("content", [b"", b"x", b"plain text, not sealed", bytes(4096)])
def test_refuses_what_is_cut_short_or_was_never_sealed(folder: Path, content: bytes) -> None:
    Process(folder).keep(DOCUMENT)
    (file,) = states(folder)
    file.write_bytes(content)
    late = Process(folder)
    assert late.reused(QUESTION) == 0
    assert (late.disk.stats.refused, states(folder)) == (1, [])


def test_stays_within_its_bound_and_deletes_what_was_used_least_recently(folder: Path) -> None:
    process = Process(folder)
    process.keep([1, *DOCUMENT])
    size = states(folder)[0].stat().st_size
    bounded = Process(folder, max_bytes=3 * size)
    for first in (2, 3):
        bounded.keep([first, *DOCUMENT])
    assert Process(folder).reused([1, *QUESTION]) == 41
    bounded.keep([4, *DOCUMENT])
    assert sum(file.stat().st_size for file in states(folder)) <= 3 * size
    assert [Process(folder).reused([n, *QUESTION]) > 0 for n in (1, 2, 3, 4)] == [True, False, True, True]
    assert bounded.disk.folder.evictions == 1


def test_opens_with_an_old_key_seals_with_the_new_and_forgets_with_a_retired_one(folder: Path) -> None:
    ring = folder.with_name("states.keys.json")
    Process(folder).keep(DOCUMENT)
    old = json.loads(ring.read_text())
    new = {"k2": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    ring.write_text(json.dumps(old | new))
    rotated = Process(folder)
    assert rotated.reused(QUESTION) == len(DOCUMENT)
    rotated.keep(QUESTION)
    assert [file.stem.rpartition("-")[2] == "k2" for file in states(folder)].count(True) == 1
    ring.write_text(json.dumps(new))
    late = Process(folder)
    assert late.reused([*QUESTION, 9]) == len(QUESTION)
    assert (late.disk.stats.refused, len(states(folder))) == (1, 1)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"k1": 1}', '{"k1": "c2hvcnQ="}', '{"../k": "' + "A" * 43 + '="}']
)
def test_says_what_is_wrong_with_a_key_file(folder: Path, text: str) -> None:
    ring = folder.with_name("states.keys.json")
    ring.touch(0o600)
    ring.write_text(text)
    with pytest.raises(StorageError, match=r"is not a key file\. Allowed: JSON"):
        Process(folder)


def test_does_not_use_a_key_that_others_can_read(folder: Path) -> None:
    Process(folder)
    folder.with_name("states.keys.json").chmod(0o640)
    with pytest.raises(StorageError, match=r"has mode 0640.*Allowed: 0600"):
        Process(folder)

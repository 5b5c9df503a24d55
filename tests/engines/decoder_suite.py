"""What every native decoder of a recurrent model has to do, against transformers' own."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM

from markgraph.engines.native.load import load_decoder
from markgraph.engines.native.recurrent import RecurrentDecoder, RecurrentState
from markgraph.errors import UsageError

PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6] * 9, [2], [7, 1, 8], list(range(40))]


class DecoderSuite:
    """Subclasses say how a checkpoint is made, and which."""

    KINDS: ClassVar[dict[str, Callable[[Path], object]]]

    @pytest.fixture(scope="class")
    @classmethod
    def folders(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
        folders = {kind: tmp_path_factory.mktemp(kind) for kind in cls.KINDS}
        for kind, make in cls.KINDS.items():
            make(folders[kind])
        return folders

    @pytest.fixture
    def folder(self, kind: str, folders: dict[str, Path]) -> Path:
        return folders[kind]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", list(self.KINDS))

    @pytest.fixture
    def decoder(self, folder: Path) -> RecurrentDecoder:
        return load(folder, "exact")

    def test_gives_the_logits_that_transformers_gives(self, decoder: RecurrentDecoder, folder: Path) -> None:
        for ids in PROMPTS:
            close(decoder.read(decoder.open(0), ids), reference(folder, ids)[-1])

    def test_says_greedily_what_transformers_says(self, decoder: RecurrentDecoder, folder: Path) -> None:
        said = list(PROMPTS[2])
        for _ in range(12):
            said.append(int(reference(folder, said)[-1].argmax()))
        assert answer(decoder, PROMPTS[2], 12) == said[3:]

    def test_reads_on_from_where_it_was(self, decoder: RecurrentDecoder, folder: Path) -> None:
        ids, state = PROMPTS[0], decoder.open(0)
        for run in (ids[:5], ids[5:6], ids[6:41], ids[41:]):
            logits = decoder.read(state, run)
        close(logits, reference(folder, ids)[-1])
        assert state.length == len(ids)

    def test_reads_a_text_pass_by_pass(self, decoder: RecurrentDecoder, folder: Path) -> None:
        ids = [(7 * n) % 50 for n in range(600)]
        close(decoder.read(decoder.open(0), ids), reference(folder, ids)[-1])

    def test_steps_many_sequences_as_it_steps_each(self, decoder: RecurrentDecoder) -> None:
        together, alone = read_all(decoder), read_all(decoder)
        for token in (5, 6, 7):
            logits = decoder.step(together, [token] * len(PROMPTS))
            for row, state in zip(logits, alone, strict=True):
                close(row, decoder.step([state], [token])[0])

    def test_verifies_drafts_as_it_reads_them(self, decoder: RecurrentDecoder, folder: Path) -> None:
        drafts = [[4, 8], [6], [1, 2, 3], [9, 9, 9, 9]]
        found = decoder.verify(read_all(decoder), drafts)
        for ids, draft, logits in zip(PROMPTS, drafts, found, strict=True):
            close(logits, reference(folder, ids + draft)[len(ids) :])

    @pytest.mark.parametrize("kept", [0, 1, 3])
    def test_goes_back_within_a_draft(self, kept: int, decoder: RecurrentDecoder, folder: Path) -> None:
        ids, draft, state = PROMPTS[3], [4, 8, 15], decoder.open(0)
        decoder.read(state, ids)
        decoder.verify([state], [draft])
        decoder.rewind(state, len(ids) + kept)
        assert state.length == len(ids) + kept
        close(decoder.step([state], [11])[0], reference(folder, [*ids, *draft[:kept], 11])[-1])

    def test_goes_back_no_further(self, decoder: RecurrentDecoder) -> None:
        state = decoder.open(0)
        decoder.read(state, [1, 2, 3])
        with pytest.raises(UsageError, match="can't go back to 2"):
            decoder.rewind(state, 2)

    def test_goes_on_from_a_snapshot(self, decoder: RecurrentDecoder) -> None:
        state, again = decoder.open(0), decoder.open(0)
        decoder.read(state, PROMPTS[0])
        snapshot = decoder.save(state, 10)
        expected = decoder.step([state], [1])
        decoder.restore(again, [snapshot])
        assert (again.length, snapshot.start, snapshot.end) == (len(PROMPTS[0]), 0, len(PROMPTS[0]))
        assert torch.equal(decoder.step([again], [1]), expected)

    def test_keeps_no_more_of_a_long_text_than_of_a_short_one(self, decoder: RecurrentDecoder) -> None:
        state = decoder.open(4)
        before = state.nbytes
        decoder.read(state, PROMPTS[0])
        assert state.nbytes == before == decoder.bytes_for(4) == decoder.bytes_for(4000)

    def test_knows_no_adapters(self, decoder: RecurrentDecoder) -> None:
        with pytest.raises(UsageError, match="no adapter 'tone'"):
            decoder.open(4, "tone")

    @pytest.mark.parametrize(("mode", "limit"), [("fast", 0.02), ("small", 0.5)])
    def test_says_nearly_the_same_with_fewer_bits(self, mode: str, limit: float, folder: Path) -> None:
        ids, rounded = PROMPTS[0], load(folder, mode)
        logits = torch.stack([rounded.read(rounded.open(0), ids[: n + 1]) for n in range(20, 30)])
        expected = reference(folder, ids)[20:30]
        error = (logits - expected).pow(2).mean() / expected.var()
        assert 0 < error < limit


def load(folder: Path, mode: str) -> RecurrentDecoder:
    decoder = load_decoder(folder, mode)
    assert isinstance(decoder, RecurrentDecoder)
    return decoder


def reference(folder: Path, ids: Sequence[int]) -> torch.Tensor:
    """Return transformers' logits after each token, (l, v), read at once from the beginning.

    With a cache, transformers reads several tokens wrongly.
    """
    with torch.inference_mode():
        logits: torch.Tensor = theirs(folder)(torch.tensor([list(ids)]), use_cache=False).logits[0]
    return logits


@cache
def theirs(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def read_all(decoder: RecurrentDecoder) -> list[RecurrentState]:
    states = [decoder.open(0) for _ in PROMPTS]
    for state, ids in zip(states, PROMPTS, strict=True):
        decoder.read(state, ids)
    return states


def answer(decoder: RecurrentDecoder, ids: Sequence[int], length: int) -> list[int]:
    state = decoder.open(0)
    said = [int(decoder.read(state, ids).argmax())]
    while len(said) < length:
        said.append(int(decoder.step([state], said[-1:])[0].argmax()))
    return said

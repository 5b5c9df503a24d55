"""Scores are what they are worked out to be."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from markgraph.errors import ConfigError, MissingExtraError
from markgraph.training.extra import trl
from markgraph.training.kto import Kto, separated
from markgraph.training.pairs import pair_scores
from markgraph.training.render import Tokens, completion_ids, tokens
from markgraph.training.scoring import Drift, Policy, divergence, said
from tests.training.facts import chat_rows, job, rated_rows, tiny_base


def test_divergence_is_what_it_is_worked_out_to_be() -> None:
    p, q = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log(), torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence(p, q).tolist() == pytest.approx([by_hand, 0.0])


def test_an_answer_is_scored_as_the_model_itself_says(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    row = chat_rows()[0]
    asked = tokens(base, row, row["completion"])
    model = base.causal()
    with torch.no_grad():  # transformers' own loss, over the same labels
        loss = model(input_ids=torch.tensor([asked.ids]), labels=torch.tensor([asked.labels])).loss
    assert float(said(model, asked).logps.mean()) == pytest.approx(-float(loss), rel=1e-5)


def test_a_base_has_not_drifted_from_itself(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    assert Policy.of(base, None).drift(Tokens([5, 6], [7, 8, 9])) == Drift(0.0, 0.0)


def test_pairs_are_counted_and_a_tie_is_chance() -> None:
    assert pair_scores([0.2, -0.1, 0.0], nearness=[-1.0, -2.0, 0.0]) == {
        "pair_accuracy": [1.0, 0.0, 0.5],
        "pair_margin": [0.2, -0.1, 0.0],
        "nearness": [-1.0, -2.0, 0.0],
    }


def test_what_is_no_number_is_neither_right_nor_wrong() -> None:
    accuracy = pair_scores([math.nan, math.inf, -math.inf])["pair_accuracy"]
    assert all(map(math.isnan, accuracy))
    assert all(map(math.isnan, separated([3.0, math.nan, -1.0], [True, True, False])))


class _Says:
    """A model that says the same logits of every token."""

    device = "cpu"

    def __init__(self, *logits: float) -> None:
        self._logits = torch.tensor(logits)

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=self._logits.expand(*input_ids.shape, -1))


@pytest.mark.parametrize(
    ("logits", "best"),
    [((2.0, 1.0), True), ((1.0, 2.0), False), ((1.0, 1.0), False), ((math.nan,) * 2, False)],
)
def test_a_token_is_likeliest_where_no_other_is_as_likely(logits: tuple[float, ...], best: bool) -> None:
    assert said(_Says(*logits), Tokens([1], [0])).best.tolist() == [best]


def test_separation_is_from_the_middle_between_liked_and_disliked() -> None:
    assert separated([3.0, 1.0, -1.0], [True, True, False]) == [2.5, 0.5, 1.5]
    assert separated([3.0, 1.0], [True, True]) == [3.0, 1.0]  # nothing to be told from
    assert separated([-5.0, -5.0], [True, False]) == [0.0, 0.0]  # all answers became less likely


def test_kto_sets_each_answer_beside_another_prompt_of_its_batch(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    training: Any = Kto(batch_size=2).training(job(base, rated_rows(), tmp_path, 1))
    ends = {tuple(completion_ids(base, row["completion"])) for row in rated_rows()}
    for batch in training.get_train_dataloader():
        matched, others = (
            [
                tuple(ids[mask.bool()].tolist())
                for ids, mask in zip(batch[f"{kind}input_ids"], batch[f"{kind}completion_mask"], strict=True)
            ]
            for kind in ("", "KL_")
        )
        assert others == matched[::-1]
        assert {*matched, *others} <= ends


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"group_by_length": True}], ids=str)
def test_kto_refuses_batches_that_it_can_not_compare_in(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed: 2 or more, and false"):
        Kto(**settings)


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'markgraph\[train\]'"):
        trl()

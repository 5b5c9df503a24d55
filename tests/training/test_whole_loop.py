"""The whole loop, by the command line and HTTP: served, rated, trained, judged, promoted, served again.

A tiny model answers one kind of question from documents; a second kind is the gap. Nothing stands in for a
component, and no weights are fetched.
"""

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from markgraph.cli import run
from markgraph.models.registry import Registry
from tests.serving.conftest import address_of
from tests.training.clerk import ASKED_WITH, Thing, clerk, rows, things
from tests.training.runs import read, write_rows

pytestmark = pytest.mark.slow
RATED, FRESH, LEARNED = 60, 12, 240
NAME = "clerk"
SLIPS = 1
"""Answers that may be wrong after a training: sums differ a little from machine to machine."""


class Shop(NamedTuple):
    """A home with documents about things, and a model that knows one kind of question."""

    home: Path
    model: str
    rated: Sequence[Thing]
    """People rate answers about these."""
    fresh: Sequence[Thing]
    """And not about these, which the gate judges by."""
    judged: Path

    @property
    def chosen(self) -> list[str]:
        """What is served, and trained."""
        exact = "model.engine.native.mode=exact"  # the same on each machine
        return ["experiment=no_weights", "model=local", f"model.engine.source={self.model}", exact]

    def markgraph(self, *arguments: str) -> tuple[int, str]:
        """Run the command, and return its exit code and what it printed."""
        chosen = [*arguments, "auth=none"]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
            patch.setenv("MARKGRAPH_HOME", str(self.home))
            return run(chosen), out.getvalue()

    @contextmanager
    def served(self, *overrides: str) -> Iterator[httpx.Client]:
        """Start `markgraph serve`, and give a client of it."""
        chosen = [*self.chosen, "model.max_tokens=24", "domain=none", "citations=none", ASKED_WITH]
        chosen += ["graph.retrieve.k=1", "graph.compress=null", "graph.max_attempts=1"]
        chosen += ["graph.validate.to_the_point=false", "graph.validate.answerable=0.0"]
        command = [sys.executable, "-m", "markgraph.cli", "serve", "port=0", *chosen, *overrides]
        environment = os.environ | {"MARKGRAPH_HOME": str(self.home)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                with httpx.Client(base_url=address_of(process.stderr), timeout=60) as http:
                    yield http
            finally:
                process.terminate()

    def trained(self, name: str) -> tuple[int, dict[str, Any]]:
        """Train on what people said, and return the exit code and the report."""
        chosen = [*self.chosen, "data=feedback", "graph.prepare.similar=null", "tracker=none"]
        # So few answers tell little: two for the worse and two for the better may be a fall of 0.17.
        chosen += [f"graph.evaluate.rows={self.judged}", "graph.compare.answers.groundedness=0.3"]
        chosen += ["graph.compare.answers.latency=null"]  # of some milliseconds
        chosen += ["method.batch_size=16", "method.epochs=16", "method.learning_rate=0.005"]
        told = ["confirm=true", f"run={name}", f"name={NAME}", "output=json"]
        code, out = self.markgraph("train", "method=sft", *chosen, *told)
        return code, json.loads(out)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    every = things(RATED + FRESH + LEARNED)
    rated, fresh, learned = every[:RATED], every[RATED : RATED + FRESH], every[RATED + FRESH :]
    documents = folder / "documents"
    documents.mkdir()
    for thing in (*rated, *fresh):
        (documents / f"{thing.name}.md").write_text(thing.text, "utf-8")
    judged = write_rows(folder / "judged.jsonl", rows(fresh, "known", "gap"))
    made = Shop(folder / "home", clerk(folder / "base", learned), rated, fresh, judged)
    assert made.markgraph("ingest", str(documents), "experiment=no_weights", "citations=none")[0] == 0
    return made


def ask(http: httpx.Client, question: str, thread: str | None = None) -> dict[str, Any]:
    headers = {"X-Thread-Id": thread} if thread else {}
    response = http.post("/qa/invoke", json={"input": {"question": question}}, headers=headers)
    answer: dict[str, Any] = response.raise_for_status().json()["output"]
    return answer


def thread_of(question: str) -> str:
    """Return the name of a thread of its own."""
    return question.replace(" ", "-").rstrip("?")


def rate(http: httpx.Client, question: str, run_id: str, **said: str) -> None:
    body = {"run_id": run_id, **said}
    http.post("/feedback", json=body, headers={"X-Thread-Id": thread_of(question)}).raise_for_status()


def wrong(http: httpx.Client, asked: Sequence[tuple[str, str]]) -> int:
    """Ask each question by itself, outside of threads, and return how many answers are not the right one."""
    return sum(ask(http, question)["answer"] != f"{answer} [1]" for question, answer in asked)


@pytest.fixture(scope="module")
def runs(shop: Shop) -> dict[str, str]:
    """Ask about all that is rated, rate it, and return the run of each question of the gap."""
    known, gap = [each.known for each in shop.rated], [each.gap for each in shop.rated]
    found: dict[str, str] = {}
    with shop.served() as http:
        for question, answer in known:
            got = ask(http, question, thread_of(question))
            assert got["answer"] == f"{answer} [1]"
            rate(http, question, got["run_id"], rating="up")
        for question, answer in gap:
            got = ask(http, question, thread_of(question))
            assert answer not in got["answer"]
            rate(http, question, got["run_id"], rating="down", correction=f"{answer} [1]")
            found[question] = got["run_id"]
        assert wrong(http, [each.gap for each in shop.fresh]) == FRESH, "there is no gap to close"
        assert wrong(http, [each.known for each in shop.fresh]) == 0
    return found


@pytest.fixture(scope="module")
def champion(shop: Shop, runs: dict[str, str]) -> dict[str, Any]:
    """Train on what was said, promote what comes of it, and return the training's report."""
    assert len(runs) == RATED
    code, report = shop.trained("first")
    assert code == 0, report["verdict"]["reasons"]
    assert report["registered"] == {"name": NAME, "version": 1, "alias": "challenger"}
    assert shop.markgraph("models", "promote", NAME, "experiment=no_weights")[0] == 0
    return report


def test_what_people_correct_is_answered_after_a_training(shop: Shop, champion: dict[str, Any]) -> None:
    assert champion["prepared"]["train"]["rows"] + champion["prepared"]["train"]["held"] == 2 * RATED
    assert champion["verdict"]["differences"]["completion_logp"]["low"] > 0
    parity = read(shop.home / "training" / "first" / "parity.json")
    assert parity == Registry(shop.home / "models").get(NAME, "champion").card.parity

    known, gap = [each.known for each in shop.fresh], [each.gap for each in shop.fresh]
    with shop.served(f"model.engine.adapter=registered:{NAME}@champion") as http:
        assert wrong(http, gap) <= SLIPS, "none of them was answered before"
        assert wrong(http, known) <= SLIPS, "all of them were answered before"


def test_what_was_trained_on_is_what_was_asked_with(shop: Shop, champion: dict[str, Any]) -> None:
    assert champion["run"] == "first"
    folder = shop.home / "training" / "first" / "rows"
    lines = [line for part in folder.glob("*.jsonl") for line in part.read_text("utf-8").splitlines()]
    learned = {json.dumps([row["messages"], row["completion"]]) for row in map(json.loads, lines)}
    expected = rows(shop.rated, "known", "gap")
    assert learned == {json.dumps([row["messages"], row["completion"]]) for row in expected}


def test_poisoned_corrections_do_not_get_into_service(
    shop: Shop, runs: dict[str, str], champion: dict[str, Any]
) -> None:
    assert champion["verdict"]["accepted"], "good corrections pass the same gate"
    corrections = [f"{each.gap[1]} [1]" for each in shop.rated]
    random.Random(1).shuffle(corrections)
    with shop.served() as http:
        for (question, run_id), correction in zip(runs.items(), corrections, strict=True):
            rate(http, question, run_id, rating="down", correction=correction)

    code, report = shop.trained("poisoned")
    assert (code, report["verdict"]["accepted"], report["registered"]) == (3, False, {})
    assert report["verdict"]["differences"]["completion_logp"]["high"] < 0
    registry = Registry(shop.home / "models")
    assert registry.aliases(NAME) == {"champion": 1}
    assert [each.version for each in registry.versions(NAME)] == [1]

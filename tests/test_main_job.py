"""The main job on real input: EU law, the embedded models, and a question that has one right answer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.weights, pytest.mark.slow]

BREACH = "Within how many hours must a personal data breach be notified to the supervisory authority?"


class Machine:
    """Runs the command line in a home that the tests of this file share."""

    def __init__(self, home: Path) -> None:
        self.environment = os.environ | {"MARKGRAPH_HOME": str(home)}

    def __call__(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "markgraph.cli", *arguments, "output=json"]
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return ran.returncode, json.loads(ran.stdout or "null") or {"error": ran.stderr}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("home"))
    code, report = machine("ingest", "corpus=eu_law")
    assert (code, report["added"], report["failed"]) == (0, 404, 0)
    return machine


def test_ingesting_the_corpus_again_changes_nothing(machine: Machine) -> None:
    code, report = machine("ingest", "corpus=eu_law")
    assert (code, report["unchanged"], report["chunks"]) == (0, 404, 0)


def test_the_hours_are_72_and_the_source_is_article_33(machine: Machine) -> None:
    code, answer = machine("ask", BREACH, "thread=t1")
    assert code == 0
    assert "72" in answer["answer"]
    assert answer["verdict"]["grounded"]
    assert {citation["title"].partition(" —")[0] for citation in answer["citations"]} == {"GDPR Article 33"}
    assert answer["domain"] == "data_protection"
    assert answer["usage"]["output_tokens"] > 0

    code, answer = machine("ask", "And to whom?", "thread=t1")
    assert code == 0
    assert "supervisory authority" in answer["answer"]


def test_the_right_source_is_quoted_where_no_model_helps(machine: Machine) -> None:
    code, answer = machine("ask", BREACH, "model=fake")
    assert code == 0
    assert "72 hours" in answer["answer"]
    assert answer["citations"][0]["title"].startswith("GDPR Article 33")


@pytest.mark.parametrize("question", ["What is the capital of France?", "How do I bake sourdough bread?"])
def test_what_the_law_does_not_say_is_refused(machine: Machine, question: str) -> None:
    code, answer = machine("ask", question)
    assert (code, answer["refused"], answer["citations"]) == (3, True, [])

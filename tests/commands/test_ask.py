"""`markgraph ask`, as a person runs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import STAND_INS, Ran

PAY = "Within how many days must the customer pay an invoice?"
ROOT = Path(__file__).parents[2]
Markgraph = Callable[..., Ran]


@pytest.mark.usefixtures("collection")
def test_answers_in_plain_text_when_piped(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "The customer shall pay each invoice within 30 days of receipt. [1]"
    assert lines[2] == "[1] Terms › Payment"
    assert lines[3].endswith("terms.md")
    assert "“The customer shall pay each invoice within 30 days of receipt.”" in ran.out
    assert "Grounded" in lines[-1]
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.usefixtures("collection")
def test_json_is_one_object_with_the_promised_keys(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, "output=json")
    assert ran.code == 0
    assert ran.out.count("\n") == 1
    assert ran.json.keys() == {
        "answer", "refused", "citations", "verdict", "domain", "model", "timings", "usage", "run_id"
    }  # fmt: skip
    assert ran.json["citations"][0].keys() == {"mark", "source", "title", "quote", "start", "end", "page"}
    assert ran.json["verdict"].keys() == {"grounded", "score", "unsupported"}
    assert {"retrieve", "generate", "first_token", "total"} <= ran.json["timings"].keys()


@pytest.mark.usefixtures("collection")
def test_quotes_point_into_the_document(markgraph: Markgraph, documents: Path) -> None:
    citation = markgraph("ask", PAY, *STAND_INS, "output=json").json["citations"][0]
    text = (documents / "terms.md").read_text()
    assert text[citation["start"] : citation["end"]] == citation["quote"]


@pytest.mark.usefixtures("collection")
def test_a_refusal_ends_with_3(markgraph: Markgraph) -> None:
    ran = markgraph("ask", "What is the capital of France?", *STAND_INS)
    assert ran.code == 3
    assert "can't answer" in ran.out


@pytest.mark.usefixtures("collection")
def test_a_denial_ends_with_4(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, "auth.caller.roles=[]")
    assert ran.code == 4
    assert "needs permission 'graph:run' for graph:qa" in ran.err
    assert ran.out == ""


def test_documents_of_others_are_not_there(markgraph: Markgraph, documents: Path) -> None:
    assert markgraph("ingest", str(documents), "experiment=no_weights", "readers=[g:legal]").code == 0
    assert markgraph("ask", PAY, *STAND_INS).code == 3
    assert markgraph("ask", PAY, *STAND_INS, "auth.caller.groups=[legal]").code == 0


def test_a_question_on_an_empty_index_says_what_to_do(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS)
    assert ran.code == 2
    assert "markgraph ingest" in ran.err


@pytest.mark.parametrize("arguments", [[], ["thread=t1"], ["  "]])
@pytest.mark.usefixtures("collection")
def test_no_question_is_wrong_use(markgraph: Markgraph, arguments: list[str]) -> None:
    ran = markgraph("ask", *arguments, *STAND_INS)
    assert ran.code == 2
    assert "question" in ran.err


def test_a_question_that_is_not_utf_8_is_wrong_use(markgraph: Markgraph) -> None:
    ran = markgraph("ask", "When is \udcff due?", *STAND_INS)
    assert ran.code == 2
    assert "UTF-8" in ran.err


def test_an_unknown_model_names_those_there_are(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, "model=smolm2")
    assert ran.code == 2
    assert "smollm2" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_log_level_names_those_there_are(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, "debug.log_level=DEBUGG")
    assert ran.code == 2
    assert "Did you mean 'DEBUG'?" in ran.err


def test_an_unknown_output_names_those_there_are(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, "output=yaml")
    assert ran.code == 2
    assert "text, json" in ran.err


@pytest.mark.usefixtures("collection")
def test_a_thread_remembers(markgraph: Markgraph) -> None:
    markgraph("ask", PAY, *STAND_INS, "thread=t1")
    second = markgraph("ask", "And what else?", *STAND_INS, "thread=t1")
    assert second.code == 0
    assert "30 days" in second.out
    assert markgraph("ask", "And what else?", *STAND_INS, "thread=t2").code == 3


@pytest.mark.usefixtures("collection")
def test_hydra_sweeps_ask_more_than_once(markgraph: Markgraph) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, "output=json", "graph.retrieve.k=1,2", "-m")
    assert ran.code == 0
    assert ran.out.count('"refused": false') == 2


@pytest.mark.usefixtures("collection")
def test_asks_before_a_tool_changes_anything(markgraph: Markgraph, home: Path) -> None:
    script = "model.responses=[{tool: save_note, args: {text: hello}}, 'I do not know.']"
    options = (*STAND_INS, "graph=agent", script, "thread=t1", "graph.generate.max_steps=2")
    waiting = markgraph("ask", "Save a note.", *options)
    assert waiting.code == 2
    assert "approve=true" in waiting.err
    assert not list(home.rglob("notes/**/*.txt"))
    markgraph("ask", *options, "approve=true")
    assert [note.read_text() for note in home.rglob("notes/**/*.txt")] == ["hello"]


@pytest.mark.usefixtures("collection")
def test_a_word_works_without_a_thread_too(markgraph: Markgraph, home: Path) -> None:
    script = "model.responses=[{tool: save_note, args: {text: hello}}, 'I do not know.']"
    options = (*STAND_INS, "graph=agent", script)
    assert "save_note" in markgraph("ask", "Save a note.", *options, "approve=true").out
    assert len(list(home.glob("notes/*/*.txt"))) == 1
    assert "thread=NAME" in markgraph("ask", "Save a note.", *options).err


@pytest.mark.parametrize("word", ["no", "yes", "1", "0"])
def test_a_word_is_true_or_false(markgraph: Markgraph, word: str) -> None:
    ran = markgraph("ask", PAY, *STAND_INS, f"approve={word}")
    assert ran.code == 2
    assert "Allowed: null, true, false" in ran.err


@pytest.mark.usefixtures("collection")
def test_a_killed_run_resumes(markgraph: Markgraph, home: Path, tmp_path: Path) -> None:
    log = tmp_path / "asked"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "SLOW_MODEL_LOG": str(log),
        "SLOW_MODEL_SECONDS": "60",
    }
    slow = "model._target_=tests.commands.slow_model.SlowModel"
    command = [sys.executable, "-m", "markgraph.cli", "ask", PAY, *STAND_INS, slow, "thread=t1"]
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 60
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert log.read_text() == "asked\n"
    resumed = markgraph("ask", *STAND_INS, "thread=t1")
    assert resumed.code == 0
    assert "Going on with" in resumed.err
    assert "30 days" in resumed.out
    assert markgraph("ask", *STAND_INS, "thread=t1").code == 2  # nothing is left to resume
    assert "30 days" in markgraph("ask", "And what else?", *STAND_INS, "thread=t1").out

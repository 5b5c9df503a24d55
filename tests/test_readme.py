"""Every fenced block of README.md does what it says, with tiny or scripted models and hashed words.

The blocks run from top to bottom in one folder that holds DOCUMENTS. What happens to a block is decided by
its language, or by the class in a comment on the line above it, `<!-- test: CLASS -->`:

    bash            each line is a `markgraph` command, and ends with exit code 0
    bash, setup     each line is `make TARGET`; the Makefile has that target
    bash, server    one command, which answers at /health until it is terminated
    bash, shell     runs in bash as it stands, without stand-ins
    yaml, rules     a file of rules that `rules=file` takes
    python          runs; `load_graph` is given the stand-ins
    mermaid         the graph `qa`: all of its nodes, and none but its edges
    mermaid, NAME   the same of the graph NAME
    (no language)   is no program

Anything else fails: there is no class that skips.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from markgraph.build import load_graph
from markgraph.cli import run
from markgraph.ingestion.rules_file import read_rules
from tests.engines.tiny import tiny_llama

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    "my-documents/terms.md": "# Terms\n\nThe customer must pay an invoice within 30 days of its receipt.\n",
    "contracts/supply.md": "# Liability\n\nThe liability of the supplier is limited to 50,000 euros.\n",
    "permissions.yaml": "default: {readers: [g:legal]}\n",
    "decisions.jsonl": '{"_id": "1", "heading": "Costs", "body": "The supplier bears the costs."}\n',
    "laws/one.xml": "<law><heading>Scope</heading><p>This law applies to suppliers.</p></law>",
    "judged/corpus.jsonl": '{"_id": "d1", "text": "Invoices are due."}\n{"_id": "d2", "text": "Cats"}\n',
    "judged/queries.jsonl": '{"_id": "q1", "text": "due invoice", "answers": ["invoices"]}\n'
    '{"_id": "q2", "text": "sleeping cats", "answers": ["cats"]}\n',
    "judged/qrels.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n",
}
QUESTIONS, PAIRS = 240, 60
PAYERS = ("the controller", "the user", "the assistant")
ASKED = [(f"Who pays notice {at} of kind {at % 3}?", f"{PAYERS[at % 3]} pays") for at in range(QUESTIONS)]
RECORDS = {
    "questions.jsonl": [{"question": question, "answer": answer} for question, answer in ASKED],
    "pairs.jsonl": [
        {"prompt": question, "chosen": answer, "rejected": "notices"} for question, answer in ASKED[:PAIRS]
    ],
}
"""What a model learns from, short enough for a tiny one to learn it."""
HASH = ["embedder=hash", "embedder.dimensions=64"]
NO_WEIGHTS = ["model=fake", *HASH]
STAND_INS = {"ask": NO_WEIGHTS, "graph": NO_WEIGHTS, "serve": NO_WEIGHTS}
STAND_INS |= {"ingest": HASH, "search": HASH, "evaluate": NO_WEIGHTS, "tune": HASH}
TINY = ["model=local", "model.engine.source=file:tiny"]
# The facts differ in a word or two: none is dropped as a near-duplicate.
LEARNS = [*TINY, "tracker=none", "graph.prepare.similar=null", "method.epochs=1", "method.learning_rate=0.01"]
STAND_INS |= {"train": LEARNS}
STAND_INS |= {"keys": HASH, "feedback": HASH}
STAND_INS |= {"doctor": ["threads=1"], "models": [], "token": [], "policy": [], "audit": [], "replay": []}
# All configurations of all graphs take minutes, and have a test of their own.
STAND_INS |= {
    "verify": ["graph=qa", "rerank=none", "citations=none", "model=fake", "index=words", "checkpoint=none"]
}
STAND_INS |= {"bench": ["model.engine.source=file:tiny", "model.engine.sha256=null"]}
REFUSED = 3
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<kind>.*?) -->\n)?```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block."""

    line: int
    kind: str
    """Its language, and the class from the comment above it: `bash`, `bash, setup`, ..."""
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown page."""
    for match in BLOCK.finditer(page):
        kind = ", ".join(filter(None, [match["language"], match["kind"]]))
        yield Block(page.count("\n", 0, match.start("language")) + 1, kind, match["text"])


def commands(block: Block, program: str) -> list[list[str]]:
    """Return the words of each line after `program`; another program fails."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    for words in filter(None, lines):
        assert words[0] == program, f"`{words[0]}` in a block of `{program}` commands"
    return [words[1:] for words in lines if words]


def run_commands(block: Block) -> None:
    for verb, *words in commands(block, "markgraph"):
        # A scripted model calls no tool, so an agent may find nothing.
        allowed = (0, REFUSED) if "graph=agent" in words else (0,)
        assert run([verb, *words, *stand_ins(verb, words)]) in allowed, words


def stand_ins(verb: str, words: list[str]) -> list[str]:
    """Return what is appended to a command, so that it needs no weights but the tiny model's."""
    if words[:1] == ["reindex"] or any(word.startswith("resume=") for word in words):
        return []
    if "suite=models" in words:
        return TINY
    if any(word.startswith("model.engine.adapter=") for word in words):
        return [*TINY, *HASH]
    return STAND_INS[verb]


def run_setup(block: Block) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target, *variables in commands(block, "make"):
        assert all("=" in each for each in variables)
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"the Makefile has no {target}"


def run_server(block: Block) -> None:
    ((verb, *words),) = commands(block, "markgraph")
    program = [sys.executable, "-m", "markgraph.cli", verb, *words, *STAND_INS[verb], "port=0"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            said = server.stderr.readline()
            address = re.search(r"http://[\d.]+:\d+", said)
            assert address, said + server.stderr.read()
            assert httpx.get(f"{address[0]}/health", timeout=30).json()["status"] == "ok"
        finally:
            server.terminate()


def run_shell(block: Block) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], check=True, env=os.environ | {"PATH": path}
    )


def run_python(block: Block) -> None:
    prelude = (
        "import markgraph, markgraph.build as build\n"
        "markgraph.load_graph = lambda name, overrides=(), **services: "
        f"build.load_graph(name, [*overrides, *{NO_WEIGHTS}], **services)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", prelude + block.text], check=True)


def run_rules(block: Block) -> None:
    Path("readme_rules.yaml").write_text(block.text, "utf-8")
    assert len(read_rules("readme_rules.yaml").rules) > 1


def run_mermaid(block: Block) -> None:
    name = block.kind.removeprefix("mermaid").removeprefix(", ") or "qa"
    graph = load_graph(name, TINY if name == "train" else NO_WEIGHTS).get_graph()
    edges: set[tuple[str, str]] = set()
    for line in block.text.splitlines()[1:]:
        names = [name.strip(" ;") for name in re.split(r"-->|-\..*?\.->", line)]
        edges |= set(pairwise(names))
    assert edges <= {(edge.source, edge.target) for edge in graph.edges}
    assert {name for edge in edges for name in edge} == graph.nodes.keys() - {"__start__", "__end__"}


KINDS: dict[str, Callable[[Block], None]] = {
    "bash": run_commands,
    "bash, setup": run_setup,
    "bash, server": run_server,
    "bash, shell": run_shell,
    "python": run_python,
    "mermaid": run_mermaid,
    "mermaid, evaluate": run_mermaid,
    "mermaid, train": run_mermaid,
    "yaml, rules": run_rules,
    "": lambda block: None,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with the documents that the README speaks of."""
    for name, text in DOCUMENTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    for name, records in RECORDS.items():
        (tmp_path / name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    tiny_llama(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)


def test_every_block_of_the_readme_does_what_it_says(folder: None) -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    blocks = list(blocks_of(page))
    assert 2 * len(blocks) == len(re.findall(r"^\s*(?:```|~~~)", page, re.MULTILINE)), "a block was not found"
    for block in blocks:
        try:
            KINDS[block.kind](block)
        except BaseException as error:
            error.add_note(f"README.md, line {block.line}, a block of kind {block.kind!r}:\n{block.text}")
            raise


def test_knows_a_block_by_its_language_and_the_comment_above() -> None:
    page = (
        "text\n\n<!-- test: setup -->\n```bash\nmake demo\n```\n\n```python\npass\n```\n\n```\na tree\n```\n"
    )
    assert list(blocks_of(page)) == [
        Block(4, "bash, setup", "make demo\n"),
        Block(8, "python", "pass\n"),
        Block(12, "", "a tree\n"),
    ]


def test_a_command_of_another_program_fails() -> None:
    with pytest.raises(AssertionError, match="`rm` in a block of `markgraph` commands"):
        run_commands(Block(1, "bash", "rm -r documents\n"))

"""The examples, run as their headers say."""

import os
import subprocess
import sys
from pathlib import Path

from tests.serving.conftest import ANSWER, PAY

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, *arguments: str, home: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), PAY, *arguments]
    environment = os.environ | {"MARKGRAPH_HOME": str(home)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_graph_is_a_runnable_a_link_of_a_chain_and_a_node(server_home: Path) -> None:
    stand_ins = ("model=fake", "embedder=hash", "collection=no_weights")
    lines = example("import_graph.py", *stand_ins, home=server_home).splitlines()
    assert lines == [f"runnable: {ANSWER}", f"chain: {ANSWER}", f"subgraph: {ANSWER.upper()}"]


def test_the_remote_client_streams_an_answer(server: str, server_home: Path) -> None:
    lines = example("remote_runnable.py", server, home=server_home).splitlines()
    assert lines[0] == ANSWER
    assert lines[1].startswith("[1] Terms: “")

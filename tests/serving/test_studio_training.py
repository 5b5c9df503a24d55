"""A training on LangGraph Server: whoever runs it says what, a client reads the plan and says go."""

import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from markgraph.cli import run
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.store import AuthStore
from tests.engines.tiny import tiny_llama
from tests.serving.conftest import LANGGRAPH, langgraph_server
from tests.training.runs import NAME, read, rows, settings, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not LANGGRAPH.exists(), reason="needs the extra [studio]")]

ROLES = {"tom": ["reader", "trainer"], "eve": ["reader", "trainer"], "rita": ["reader"]}


class Scene(NamedTuple):
    """A server that trains, and who asks it."""

    home: Path
    keys: dict[str, str]
    clients: dict[str, SyncLangGraphClient]

    def planned(self, name: str) -> tuple[str, dict[str, Any]]:
        """Return the thread of a run of tom's, and what he is asked there."""
        thread = self.clients["tom"].threads.create()["thread_id"]
        self.clients["tom"].runs.wait(thread, "train", input={"run": name})
        state = self.clients["tom"].threads.get(thread)
        assert state["status"] == "interrupted"
        ((asked,),) = state["interrupts"].values()
        return thread, asked["value"]

    def answered(self, thread: str, confirm: bool) -> Any:
        return self.clients["tom"].runs.wait(thread, "train", command={"resume": {"confirm": confirm}})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("training")
    chosen = settings(tiny_llama(place / "tiny"), write_rows(place / "rows.jsonl", rows()))
    home, folder = place / "home", place / "server"
    home.mkdir()
    folder.mkdir()
    made = ApiKeys(AuthStore(str(home / "auth.sqlite")))
    keys = {name: made.make(Caller(name, roles), 1) for name, roles in ROLES.items()}
    with (
        langgraph_server(home, folder, "auth=dev auth.attempts=null", train=shlex.join(chosen)) as url,
        ExitStack() as stack,
    ):
        clients = {
            name: stack.enter_context(
                get_sync_client(url=url, api_key=None, headers={"authorization": f"Bearer {key}"})
            )
            for name, key in keys.items()
        }
        yield Scene(home, keys, clients)


def test_a_client_starts_a_run_reads_its_plan_and_says_go(scene: Scene) -> None:
    thread, asked = scene.planned("r")
    folder = scene.home / "training" / "r"
    assert (asked["question"], asked["run"]) == ("May this be trained?", "r")
    assert asked["plan"] == read(folder / "plan.json")
    assert (asked["prepared"]["train"]["rows"], asked["prepared"]["train"]["left_out"]) == (216, {})
    assert not (folder / "checkpoints").exists()

    for other in (scene.clients["eve"], scene.clients["rita"]):
        with pytest.raises(httpx.HTTPStatusError, match=r"404|not found"):
            other.threads.get_state(thread)
        with pytest.raises(httpx.HTTPStatusError, match=r"404|not found"):
            other.runs.wait(thread, "train", command={"resume": {"confirm": True}})
    assert not (folder / "checkpoints").exists()

    report = scene.answered(thread, confirm=True)
    assert report["trained"]["train"]["steps"] == asked["plan"]["stages"][0]["steps"]
    assert report["registered"] == {"name": NAME, "version": 1, "alias": "challenger"}
    assert Registry(scene.home / "models").get(NAME, "challenger").card.by == "tom"


def test_who_may_not_train_is_told_so_and_nobody_goes_on_with_anothers_run(scene: Scene) -> None:
    scene.planned("toms")
    for name, request, why in (
        ("rita", {"run": "ritas"}, "it needs permission 'graph:run' for graph:train"),
        ("eve", {"run": "toms", "resume": True}, "There is no run 'toms' of yours."),
        ("eve", {"run": "../toms"}, "A run can't be called '../toms'."),
        ("eve", {}, "A run can't be called ''."),
        ("eve", {"run": ["toms"]}, "A run can't be called"),
    ):
        ended = scene.clients[name].runs.wait(None, "train", input=request, raise_error=False)
        assert why in ended["__error__"]["message"], ended
    assert {each.name for each in (scene.home / "training").iterdir() if each.is_dir()} <= {"r", "toms", "no"}


def test_what_was_declined_goes_on_at_the_terminal(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    thread, asked = scene.planned("no")
    report = scene.answered(thread, confirm=False)
    assert (report["approved"], report["trained"]) == (False, {})
    assert not (scene.home / "training" / "no" / "checkpoints").exists()

    monkeypatch.setenv("MARKGRAPH_HOME", str(scene.home))
    for name, code in (("eve", 2), ("tom", 0)):
        monkeypatch.setenv("MARKGRAPH_TOKEN", scene.keys[name])
        assert run(["train", "resume=no", "auth=dev", "output=json"]) == code
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["config_hash"] == asked["plan"]["config_hash"]
    assert run(["train", "resume=no", "auth=dev", "confirm=true"]) == 0
    assert f"Registered as {NAME}@" in capsys.readouterr().out

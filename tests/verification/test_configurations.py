"""`markgraph verify` over the configs that ship, and the commands that refuse what it finds."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from markgraph.build import compose, load_graph
from markgraph.cli import run
from markgraph.errors import ConfigError
from markgraph.verification.configurations import verify_all
from markgraph.verification.dimensions import groups_of, stages_in
from markgraph.verification.verify import verify

UNASKED = ["graph=agent", "graph.approve=null"]
PATH = "START → authorize → rewrite → generate → call_tools"
FIXED = ["model=fake", "embedder=hash", "index=words", "tier=tiny", "experiment=no_weights"]
FIXED += ["rerank=none", "citations=none", "corpus=folder", "executor=local", "domain=none"]
OPEN = {"rerank", "debug"}
NONE_CHOSEN = ["tier=tiny", "experiment=no_weights"]
CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.slow
def test_no_shipped_configuration_can_break_the_policy(home: Path) -> None:
    reports = {report.graph: report for report in verify_all()}
    assert set(reports) == {file.stem for file in (CONF / "graph").glob("*.yaml")}
    assert not [str(each) for report in reports.values() for each in report.found]
    qa = reports["qa"]
    assert {"rerank", "citations", "graph.route", "graph.follow", "graph.compress"} <= set(qa.shaping)
    assert {"model", "embedder", "index", "domain", "tier", "experiment"} <= set(qa.choosing)
    assert qa.not_built == {}
    assert qa.distinct >= 16
    assert not home.exists(), "nothing is written"


def test_every_option_of_every_group_is_a_choice() -> None:
    groups = {group.name: group for group in groups_of("verify")}
    for name, group in groups.items():
        chosen = {override for option in group.options for override in option}
        files = {f"{name}={file.stem}" for file in (CONF / name).glob("*.yaml")}
        assert chosen <= files
        # What none of the files says comes first: no overlay, or what the environment says.
        assert len(group.options) == len(files) + (name in ("tier", "experiment", "seal"))


def test_a_stage_that_guards_is_not_left_out_as_a_matter_of_choice() -> None:
    assert {each.name for each in stages_in(compose("verify", ["graph=qa"]))} == {
        "graph.route",
        "graph.follow",
        "graph.compress",
    }
    assert list(stages_in(compose("verify", ["graph=agent"]))) == []


def test_an_override_that_breaks_the_policy_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", *UNASKED, *FIXED]) == 1
    shown, said = capsys.readouterr()
    assert said.startswith("verifying agent\n")
    assert "Tool 'save_note' in 'call_tools' has side effects, and no person was asked." in shown
    assert PATH in shown
    assert f"with {' '.join(UNASKED)}" in shown
    assert shown.endswith("Not proven: 1 finding.\n")


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", *UNASKED, *FIXED, "output=json"]) == 1
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["proven"] is False
    (graph,) = report["graphs"]
    assert graph["findings"][0]["path"] == PATH.split(" → ")
    assert graph["findings"][0]["overrides"][:2] == UNASKED


def test_tools_that_change_nothing_need_no_person() -> None:
    tools = "[{_target_: markgraph.tools.calculate.calculate}]"
    assert verify(load_graph("agent", ["model=fake", "graph.approve=null", f"graph.tools={tools}"])) == []


def usual_of(name: str) -> object:
    """Return the option of a group that `verify` has without being told."""
    for file in ("verify", "embed"):
        for default in yaml.safe_load((CONF / f"{file}.yaml").read_text("utf-8"))["defaults"]:
            if isinstance(default, dict) and name in default:
                return default[name]
    raise LookupError(name)


def test_all_crosses_groups_that_change_nothing_too() -> None:
    stages = ["graph.route=null", "graph.follow=null", "graph.compress=null"]
    others = [group.name for group in groups_of("verify") if group.name not in OPEN]
    fixed = [f"{name}={usual_of(name)}" for name in others]
    chosen = [each for each in fixed if not each.endswith("=None")]
    (report,) = verify_all([*chosen, *NONE_CHOSEN, *stages], everything=True)
    assert set(report.shaping) == OPEN
    assert report.composed == 1 + 5 * 2, "each rerank with each debug, and the usual one before"
    assert report.distinct == 2


def test_an_unknown_override_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"Unknown config key 'graph.aprove'"):
        verify_all(["graph=agent", "graph.aprove=null"])


@pytest.mark.parametrize("command", [["ask", "How many days?"], ["serve", "port=0"]])
def test_what_could_break_the_policy_is_neither_served_nor_asked(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, *UNASKED, "model=fake", "experiment=no_weights"]) == 1
    error = capsys.readouterr().err
    reason = "is neither served nor asked: a run could break the policy"
    assert error.startswith(f"markgraph: The graph 'agent' {reason}.\n")
    assert PATH in error

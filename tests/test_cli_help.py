"""What the command line says of itself, and that words reach a verb exactly as they were typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from markgraph.cli import HYDRAS, VERBS, overrides_of, quoted, run, usage

HEAVY = {"torch", "transformers", "langchain_community", "chromadb", "langgraph"}
CONF = Path(__file__).parents[1] / "conf"
NO_WEIGHTS = ["model=fake", "experiment=no_weights"]


def test_help_gives_each_verb_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == usage() + "\n"
    for verb, (line, *_) in VERBS.items():
        assert f"  {verb:8} {line}\n" in usage()
        assert len(line) < 90


def test_every_primary_config_has_a_verb_or_is_for_import() -> None:
    primaries = {file.stem for file in CONF.glob("*.yaml")} - {"base", "embed"}
    assert {verb.job for verb in VERBS.values()} == primaries


def test_no_argument_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert capsys.readouterr().out == usage() + "\n"


@pytest.mark.parametrize("argument", ["--help", "--version", "aks"])
def test_says_what_it_is_without_importing_what_is_slow(argument: str) -> None:
    program = (
        f"import sys; from markgraph.cli import run; run([{argument!r}]); print({HEAVY} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_its_groups_and_settings(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"markgraph {verb}")
    options = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
    assert f"\nmodel: {', '.join(options)}\n" in shown
    assert "=" in shown.partition("Groups")[0]
    assert "--cfg job" in shown
    for code in ("Exit codes: 0", "2 wrong use", "1 ", "130 interrupted"):
        assert code in " ".join(shown.split())


def test_cfg_job_prints_the_config_with_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "When?", "graph.retrieve.k=8", "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.graph.retrieve.k == 8
    assert printed.question == "When?"


def test_an_unknown_option_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "When?", "--nope"]) == 2
    assert "unrecognized arguments: --nope" in capsys.readouterr().err


def test_an_unknown_verb_is_wrong_use_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["aks", "When?"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("markgraph: Unknown command 'aks'.")
    assert error.endswith("Did you mean 'ask'?\n")


def through_hydra(override: str) -> object:
    """Return the value that a config has after `override`, interpolations resolved."""
    parsed = OverridesParser.create().parse_override(override)
    config = OmegaConf.create({parsed.key_or_group: parsed.value()})
    return config[parsed.key_or_group]


SPECIAL = [
    "\\",
    "'",
    '"',
    "${oc.env:HOME}",
    "${",
    "$",
    "{",
    "}",
    "\\${",
    "=",
    ",",
    ":",
    "\n",
    "\t",
    " ",
    "😀",
    "é",
]


@settings(deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from([*SPECIAL, "a", "null", "1"])).map("".join)))
@example("")
@example(" spaces around ")
@example("a trailing backslash \\")
@example("???")
@example("It's \"quoted\" and costs ${oc.env:HOME}=5,\nisn't it?")
def test_words_survive_exactly(text: str) -> None:
    override = f"question={quoted(text)}"
    assert through_hydra(override) == text
    parsed = OverridesParser.create().parse_override(override)  # as a sweep writes it out again
    assert through_hydra(f"question={parsed.get_value_element_as_str()}") == text


def test_words_before_the_first_override_are_the_question() -> None:
    assert overrides_of("ask", ["When", "is it", "due?", "model=fake"]) == [
        "question='When is it due?'",
        "model=fake",
    ]
    assert overrides_of("graph", ["qa", "png=qa.png"]) == ["graph=qa", "png=qa.png"]
    assert overrides_of("ask", ["thread=t1"]) == ["thread=t1"]
    assert overrides_of("search", ["~5 is", "~alpha beta", "~rerank"]) == [
        "query='~5 is ~alpha beta'",
        "~rerank",
    ]


def test_options_may_stand_between_overrides() -> None:
    arguments = ["When?", "-m", "graph.retrieve.k=2,4", "--cfg", "job", "~experiment", "+a@b.c=1"]
    assert overrides_of("ask", arguments) == [
        "question='When?'",
        "graph.retrieve.k=2,4",
        "~experiment",
        "+a@b.c=1",
        "-m",
        "--cfg",
        "job",
    ]


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with one document, indexed; commands run in it."""
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "terms.md").write_text("# Terms\n\nPayment is due within 30 days of the invoice.\n", "utf-8")
    monkeypatch.chdir(folder)
    assert run(["ingest", ".", "experiment=no_weights"]) == 0
    return folder


def test_commands_leave_nothing_behind_in_the_folder_they_run_in(
    documents: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ask", "When is payment due?", *NO_WEIGHTS]) == 0
    assert "30 days" in capsys.readouterr().out
    assert [file.name for file in documents.iterdir()] == ["terms.md"]


def test_a_sweep_runs_once_for_each_value(documents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", "graph.retrieve.k=2,4", "output=json"]
    assert run(["ask", "When is payment due?", *NO_WEIGHTS, *sweep]) == 0
    assert capsys.readouterr().out.count('"answer": ') == 2
    assert [file.name for file in documents.iterdir()] == ["terms.md"]


@pytest.mark.parametrize("words", ["???", "is ${alpha} due?", "${oc.env:HOME}"])
def test_what_a_config_would_take_for_more_than_text_is_asked_as_it_is(
    documents: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert run(["search", words, "experiment=no_weights", "output=json"]) == 0
    assert json.loads(capsys.readouterr().out)["query"] == words


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["search", "alpha=beta"],
            "If 'alpha=beta' is no setting but the query, write \"query='alpha=beta'\".",
        ),
        (["ask", "~alpha"], "Unknown config key 'alpha'. Allowed: "),
        (["ask", "~alpha"], "If '~alpha' is no setting but the question, write \"question='~alpha'\"."),
        (["ingest", "a=b/"], "If 'a=b/' is no setting but the path, write \"path='a=b/'\"."),
        (["ingest", "index=a"], "There is no index=a. Allowed: "),
        (["ingest", "index=a"], "If 'index=a' is no setting but the path, write \"path='index=a'\"."),
    ],
)
def test_a_first_word_that_was_taken_for_a_setting_is_told_how_it_is_written(
    documents: Path, capsys: pytest.CaptureFixture[str], typed: list[str], told: str
) -> None:
    for name in ("a=b", "index=a"):
        (documents / name).mkdir()
    assert run([*typed, "experiment=no_weights"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["k=nine", "index=wrods", "index=words", "modle=fake query=words"])
def test_a_setting_that_is_wrong_is_no_word(capsys: pytest.CaptureFixture[str], typed: str) -> None:
    assert run(["search", *typed.split(), "experiment=no_weights"]) == 2
    assert "is no setting" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--who", "ada", "n=1"], ["who='ada'", "n=1"]),
        (["--who=a=b"], ["who='a=b'"]),
        (["--all", "n=1"], ["all=true", "n=1"]),
        (["--all=false"], ["all=false"]),
        (["--all", "--cfg", "job", "-m"], ["all=true", "--cfg", "job", "-m"]),
        (["word", "--who", "it's"], ["query='word'", r"who='it\'s'"]),
        (["--config-dir=x", "--multi"], ["--config-dir=x", "--multi"]),
    ],
)
def test_a_flag_is_a_setting(typed: list[str], meant: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "search", VERBS["search"]._replace(flags=("who",), switches=("all",)))
    assert sorted(overrides_of("search", typed)) == sorted(meant)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["policy", "explain", "--resource", "graph:qa", "--caller"], "--caller needs a value; got none."),
        (["policy", "explain", "--caller", "--resource", "graph:qa"], "needs a value; got --resource."),
        (["policy", "explain", "--resource", "a=b"], "got a=b. Write --resource=VALUE."),
        (["policy", "explain", "--actin", "graph:run"], "Did you mean '--action'?"),
        (["token", "ada", "--scpe", "graph:run"], "Did you mean '--scope'?"),
        (["doctor", "--securty"], "Allowed: --security. Did you mean '--security'?"),
    ],
)
def test_a_flag_without_its_value_or_misspelt_is_wrong_use(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    assert told in capsys.readouterr().err


def test_every_option_of_hydra_passes() -> None:
    options = {
        option
        for action in get_args_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert options == set(HYDRAS)

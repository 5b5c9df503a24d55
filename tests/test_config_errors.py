"""What somebody is told who mistypes an override: the key, what is allowed, the nearest match."""

import pytest

from markgraph.build import compose, load_graph
from markgraph.cli import run
from markgraph.errors import ConfigError

NO_WEIGHTS = ["model=fake", "embedder=hash"]

MISTAKES = {
    "graph.retrive.k=8": (
        "'graph.retrive.k'",
        "graph.retrieve, graph.route",
        "Did you mean 'graph.retrieve.k'?",
    ),
    "graph.retrieve.kk=8": ("'graph.retrieve.kk'", "Allowed: graph.retrieve.k.", "mean 'graph.retrieve.k'?"),
    "modle=fake": ("'modle'", "index, ", "Did you mean 'model'?"),
    "model=smolm2": ("model=smolm2", "Allowed: fake, llamacpp, ", "Did you mean 'smollm2'?"),
    "+graph.retrieve.nope=1": ("'graph.retrieve.nope'", "Allowed: graph.retrieve.k.", "'graph.retrieve.k'?"),
    "+index.dept=1": (
        "'index.dept'",
        "index.depth, index.fusion, ",
        "Did you mean 'index.depth'?",
    ),
    "+model.responces=[a]": ("'model.responces'", "model.responses", "Did you mean 'model.responses'?"),
    "graph.retrieve.k=[1": ("'graph.retrieve.k'", "Allowed: a word", "Did you mean graph.retrieve.k='[1'?"),
    "graph.retrieve=null": ("graph.retrieve can't be left out", "graph.route, graph.follow, graph.compress"),
    "graph.retrieve.k=eight": ("'graph.retrieve.k'", "'eight'", "Not a valid int"),
    "collection=../x": ("'collection'", "'../x'", "Allowed: 1 to 63 of the characters"),
    "collection=": ("'collection'", "value ''", "Allowed: 1 to 63"),
    "collection=Conf": ("'collection'", "audit, conf, mlflow, models, notes, sweeps"),
    "collection=2026": ("'collection'", "no number alone"),
    "collection=${colection}": ("'colection'", "checkpoint, ", "Did you mean 'collection'?"),
    "graph.retrieve._target_=os.system": ("os.system", "block"),
    "graph._target_=nowhere.build": ("graph._target_", "'nowhere.build'"),
    "index.parts=[]": ("index.parts is []", "a list of one index or more"),
    "index.parts=null": ("index.parts is None", "a list of one index or more"),
    "index.parts=[null]": ("index.parts is [None]", "a list of one index or more"),
    "index.depth=0": ("index.depth is 0", "1 or more"),
    "embedder.dimensions=-5": ("embedder.dimensions is -5", "1 or more"),
    "data_dir=null": ("'data_dir' has value null", "the path of a folder"),
    "data_dir=7": ("'data_dir' has value 7", "the path of a folder"),
    "retrieve": ("'retrieve' is not KEY=VALUE", "GROUP=NAME"),
    "index=null": ("not null", "GROUP=NAME"),
}
"""What somebody might type, and what they must then be told."""


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_an_error_that_names_the_key_and_the_nearest_match(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_graph("qa", [*NO_WEIGHTS, override])
    for part in MISTAKES[override]:
        assert part in str(error.value)


@pytest.mark.parametrize("override", list(MISTAKES))
def test_a_mistake_on_the_command_line_is_one_message_and_exit_code_2(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ask", "When is payment due?", *NO_WEIGHTS, "checkpoint=none", override]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("markgraph: ")
    assert "Traceback" not in output.err
    assert "Error executing job" not in output.err
    for part in MISTAKES[override]:
        assert part in output.err


CHOSEN = {
    "corpus=jsonl corpus.fields.txt=body": (
        "Allowed: corpus.fields.id, ",
        "Did you mean 'corpus.fields.text'?",
    ),
    "executor=ray executor.workers=0": (
        "'executor.workers'. Allowed: executor.address",
        "of executor=local.",
    ),
    "rules.path=F": ("'rules.path'. Allowed: rules.classification, rules.readers.", "setting of rules=file."),
}
"""What is said of a key depends on the options of groups that were chosen."""


@pytest.mark.parametrize("overrides", CHOSEN)
def test_the_keys_that_are_allowed_are_those_of_the_chosen_options(
    overrides: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        compose("ingest", overrides.split())
    assert run(["ingest", "folder", *overrides.split()]) == 2
    assert str(error.value) in capsys.readouterr().err
    for part in CHOSEN[overrides]:
        assert part in str(error.value)


def test_a_setting_that_must_be_given_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "terms", "embedder=hash", "auth=oidc"]) == 2
    assert capsys.readouterr().err == "markgraph: auth.issuer is not set. Set auth.issuer=VALUE.\n"

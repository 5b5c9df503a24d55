"""The validator of overrides: what a request may change of a config, and nothing besides."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from markgraph.build import compose
from markgraph.errors import ConfigError
from markgraph.security.overrides import Choice, Number, check_overrides

ALLOWED: dict[str, Number | Choice] = {
    "graph.retrieve.k": Number(1, 50),
    "model.temperature": Number(0.0, 2.0),
    "rerank": Choice(("none", "mmr")),
    "output": Choice(("text", "json")),
    "verbose": Choice((True, False)),
}

HOSTILE = [
    "graph._target_=os.system",
    "+graph._target_=os.system",
    "++model._target_=pandas.read_pickle",
    "~graph",
    "graph.retrieve.k=${oc.env:HOME}",
    "graph.retrieve.k='${oc.env:HOME}'",
    "output=${oc.decode:x}",
    "hydra.searchpath=[file:///tmp]",
    "+hydra.searchpath=[file:///tmp]",
    "hydra/launcher=joblib",
    "hydra.run.dir=/etc",
    "rerank=../../etc/passwd",
    "rerank=/etc/passwd",
    "rerank@graph=none",
    "rerank@_global_=none",
    "graph.retrieve.k=1,2",
    "graph.retrieve.k=range(1,9)",
    "graph.retrieve.k=choice(1,2)",
    "graph.retrieve.k=0",
    "graph.retrieve.k=51",
    "graph.retrieve.k=1.5",
    "graph.retrieve.k=true",
    "graph.retrieve.k='1'",
    "graph.retrieve.k=null",
    "graph.retrieve.k=[1]",
    "graph.retrieve.k={_target_:os.system}",
    "graph.retrieve.k=",
    "graph.retrieve.k",
    "graph.retrieve={k:3}",
    "model.temperature=nan",
    "model.temperature=inf",
    "model.temperature=1e400",
    "output=xml",
    "output=[text]",
    "output=extend_list(text)",
    "verbose=1",
    "verbose='true'",
    "data_dir=/etc",
    "auth=none",
    "=x",
    "",
    "a=" + "[" * 190,
    "output=text" + " " * 300,
    "output=text\nauth=none",
    "output=text auth=none",
    "experiment=x",
]


@pytest.mark.parametrize("override", HOSTILE)
def test_refuses(override: str) -> None:
    with pytest.raises(ConfigError):
        check_overrides([override], ALLOWED)


def test_lets_through_what_is_allowed_written_anew() -> None:
    sent = ["graph.retrieve.k=int('8')", "model.temperature=1", "rerank=mmr", 'output="json"', "verbose=True"]
    assert check_overrides(sent, ALLOWED) == [
        "graph.retrieve.k=8",
        "model.temperature=1",
        "rerank='mmr'",
        "output='json'",
        "verbose=true",
    ]


def test_says_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"'graph.retreive.k' is not allowed. .*Did you mean 'graph.retrieve.k'"
    ):
        check_overrides(["graph.retreive.k=8"], ALLOWED)
    with pytest.raises(ConfigError, match=r"may not be '99'\. Allowed: 1 to 50"):
        check_overrides(["graph.retrieve.k=99"], ALLOWED)


def test_refuses_a_setting_twice_and_too_many() -> None:
    with pytest.raises(ConfigError, match="twice"):
        check_overrides(["output=text", "output=json"], ALLOWED)
    with pytest.raises(ConfigError, match="at most 32"):
        check_overrides(["output=text"] * 33, ALLOWED)


@pytest.mark.parametrize("sent", [None, 1, b"output=text", ["output=text"], {"output": "text"}])
def test_refuses_what_is_no_text(sent: Any) -> None:
    with pytest.raises(ConfigError):
        check_overrides([sent], ALLOWED)


PIECES = st.sampled_from(
    ["graph.retrieve.k", "model.temperature", "rerank", "output", "+", "++", "~", "@", "=", ",", "[",
     "]", "{", "}", "'", '"', "\\", "${oc.env:HOME}", "${", "_target_", ":", "os.system", "1", "8",
     "0.5", "none", "mmr", "json", "null", "true", " ", "\n", "int(", "choice(", ")", ".", "/",
     "hydra.run.dir", "é"]
)  # fmt: skip


def differences(one: Any, other: Any, prefix: str = "") -> set[str]:
    """Return the keys whose values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return set().union(*(differences(one.get(key), other.get(key), f"{prefix}.{key}") for key in keys))
    return set() if one == other and type(one) is type(other) else {prefix.lstrip(".")}


PLAIN = OmegaConf.to_container(compose("search", ["embedder=hash"]))
SEARCH: dict[str, Number | Choice] = {"k": Number(1, 50), "output": Choice(("text", "json"))}


@settings(max_examples=300)
@given(
    st.lists(st.one_of(PIECES, st.sampled_from(["k=8", "k", "output=json", "output"])), max_size=7).map(
        "".join
    )
)
@example("k=8")
@example("output='json'")
def test_whatever_passes_changes_an_allowed_setting_and_nothing_else(override: str) -> None:
    try:
        checked = check_overrides([override], SEARCH)
    except ConfigError:
        return
    changed = OmegaConf.to_container(compose("search", ["embedder=hash", *checked]))
    assert differences(PLAIN, changed) <= SEARCH.keys()
    assert changed["k"] in range(1, 51)  # type: ignore[call-overload,index]
    assert changed["output"] in ("text", "json")  # type: ignore[call-overload,index]

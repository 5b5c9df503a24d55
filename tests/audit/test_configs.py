"""What is kept of a config, and that no secret is."""

from importlib.resources import files

import pytest

from markgraph.audit.configs import WITHHELD, composed, redacted
from markgraph.build import compose
from markgraph.environment import CONFIG_MODULE

OPENAI = "model=openai"
PGVECTOR = "index=pgvector"


@pytest.mark.parametrize(
    "words",
    [
        [OPENAI, "model.api_key=S3CR3T"],
        [OPENAI, "model.api_key=5371837"],
        [OPENAI, "model.api_key='${oc.env:HOME,S3CR3T}'"],
        [OPENAI, "model.api_key='${oc.env:HOME}S3CR3T'"],
        [OPENAI, "model.api_key='${oc.decode:S3CR3T}'"],
        [OPENAI, "model.base_url='https://u:S3CR3T@127.0.0.1/v1'"],
        [OPENAI, "model.base_url='https://S3CR3T@127.0.0.1/v1'"],
        [OPENAI, "model.base_url='https://127.0.0.1/v1?user=u&api-key=S3CR3T'"],
        [OPENAI, "+model.default_headers={Authorization:S3CR3T}"],
        [OPENAI, "+model.headers={X-Whatever:[S3CR3T]}"],
        [OPENAI, "+model.extra_body={authorization:'Bearer S3CR3T'}"],
        [PGVECTOR, "index.index.conninfo='postgresql://u:S3CR3T@127.0.0.1/db'"],
        [PGVECTOR, "index.index.conninfo=S3CR3T"],
        [PGVECTOR, "+index.index.server='host=h password = S3CR3T'"],
        ["citations=neo4j", "citations.url='bolt://:S3CR3T@127.0.0.1'"],
    ],
)
def test_a_secret_is_withheld(words: list[str]) -> None:
    text = composed(compose("ask", words)).text
    assert WITHHELD in text
    assert "S3CR3T" not in text
    assert "5371837" not in text


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([OPENAI, "model.api_key='{}'"], "${oc.env:KEY}"),
        ([OPENAI, "+model.default_headers={{Authorization:'{}'}}"], "${oc.env:KEY,null}"),
        ([OPENAI, "model.base_url='{}'"], "https://u:${oc.env:KEY}@127.0.0.1/v1"),
        ([PGVECTOR, "index.index.conninfo='{}'"], "${oc.env:KEY,${oc.env:OTHER}}"),
        ([PGVECTOR, "+index.index.server='{}'"], "host=h password=${oc.env:KEY} user=u"),
        ([PGVECTOR, "+index.index.server='{}'"], "postgresql:///db?sslmode=require"),
    ],
)
def test_what_only_refers_to_a_secret_stays(words: list[str], kept: str) -> None:
    text = composed(compose("ask", [word.format(kept) for word in words])).text
    assert WITHHELD not in text
    assert kept in text


@pytest.mark.parametrize("group", ["model", "embedder", "index", "rerank", "citations", "domain", "tier"])
def test_no_option_of_the_package_holds_a_secret(group: str) -> None:
    for file in files(CONFIG_MODULE).joinpath(group).iterdir():
        name = file.name.removesuffix(".yaml")
        assert WITHHELD not in composed(compose("ask", [f"{group}={name}"])).text, name


def test_limits_are_no_part_of_it() -> None:
    words = ["limits=redis", "limits.counters.url='redis://:S3CR3T@127.0.0.1'"]
    kept, without = composed(compose("serve", words)), composed(compose("serve", ["limits=none"]))
    assert "S3CR3T" not in kept.text
    assert kept.hash == without.hash


def test_resolved_settings_keep_a_reference_to_a_secret_and_no_secret() -> None:
    plain = {
        "key": "S3CR3T",
        "url": "http://u:S3CR3T@h",
        "of": [{"token": "S3CR3T"}, {"k": 8}],
        "to": "/x",
    }
    written = {
        "key": "${oc.env:KEY}",
        "url": "http://u:S3CR3T@h",
        "of": [{"token": "${oc.env:T,S3CR3T}"}, {}],
    }
    assert redacted(plain, written) == {
        "key": "${oc.env:KEY}",
        "url": WITHHELD,
        "of": [{"token": WITHHELD}, {"k": 8}],
        "to": "/x",
    }
    assert redacted(plain, "${elsewhere}")["of"] == [{"token": WITHHELD}, {"k": 8}]

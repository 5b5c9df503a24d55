"""Every operation of the OpenAPI description, asked by schemathesis with what nobody would send on purpose.

The server has auth=dev; it is asked with a token, with another tenant's, and without one.

Schemathesis has an environment of its own, `make fuzz`: it needs a newer jsonschema-rs than langgraph-api
allows.
MARKGRAPH_FUZZ_EXAMPLES says how many requests it makes up for an operation.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from markgraph.build import compose, load_graph, make
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.doors import TokenDoor
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.store import AuthStore
from markgraph.serving.app import create_app
from tests.retrieval.index_suite import chunk
from tests.serving.running import default_guard, running

SCHEMATHESIS = Path(__file__).parents[2] / ".fuzz/bin/schemathesis"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="needs schemathesis: make fuzz"),
    # LangServe reads an attribute that pydantic has moved since.
    pytest.mark.filterwarnings(
        "ignore::pydantic.warnings.PydanticDeprecatedSince211", "ignore:astream_log is deprecated"
    ),
]
EXAMPLES = os.environ.get("MARKGRAPH_FUZZ_EXAMPLES", "10")
NOT_OURS = {
    # LangServe describes its event streams as JSON.
    "content_type_conformance",
    # LangServe reads its bodies by itself: it ignores unknown fields, and a config that says nothing to it.
    "negative_data_rejection",
    # More than a description says: a thread that waits for a person, and 64 levels of nesting.
    "positive_data_acceptance",
}
SECRET = "30 days"


class Site(NamedTuple):
    """A server with auth=dev, its description, and the tokens of two tenants; the document is the first's."""

    address: str
    description: Path
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("fuzz")
    index = WordsIndex(folder / "words.sqlite")
    index.add([chunk(f"Payment is due within {SECRET}.", tenant="a")])
    services: Any = {"embedder": HashEmbeddings(), "index": index, "checkpoint": InMemorySaver()}
    graph = load_graph("qa", model=FakeChatModel(), **services)
    door: TokenDoor = make(compose("serve", ["auth=dev", "auth.attempts=null", f"data_dir={folder}"]), "auth")
    keys = ApiKeys(AuthStore(str(folder / "auth.sqlite")))  # which last as long as a test may
    tokens = {tenant: keys.make(Caller("anna", ("reader",), tenant), 1) for tenant in ("a", "b")}
    app = create_app({"qa": graph}, door, default_guard())
    description = folder / "openapi.json"
    description.write_text(json.dumps(app.openapi()))
    with running(app) as address:
        yield Site(address, description, tokens)


def fuzz(server: Site, folder: Path, *options: str) -> list[dict[str, Any]]:
    """Run schemathesis and return every exchange: method, URL, status, and the text of the answer."""
    address, description, _ = server
    har = folder / "exchanges.har"
    command = [SCHEMATHESIS, "run", description, "--url", address, "--continue-on-failure", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES]
    command += ["--exclude-checks", ",".join(sorted(NOT_OURS)), "--generation-database", "none"]
    command += ["--report", "har", "--report-har-path", har, *options]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    entries = json.loads(har.read_text())["log"]["entries"]
    assert len(entries) > 100
    return [
        entry["request"]
        | {"status": entry["response"]["status"], "said": entry["response"]["content"].get("text", "")}
        for entry in entries
    ]


@pytest.mark.parametrize("tenant", ["a", "b"])
def test_no_request_is_an_error_of_the_server(server: Site, tmp_path: Path, tenant: str) -> None:
    asked = {"input": {"question": "When is payment due?"}}
    headers = {"authorization": f"Bearer {server.tokens[tenant]}"}
    told = httpx.post(f"{server.address}/qa/invoke", json=asked, headers=headers).text
    assert (SECRET in told) == (tenant == "a")
    exchanges = fuzz(server, tmp_path, "--header", f"Authorization: {headers['authorization']}")
    assert {one["status"] for one in exchanges} <= {200, 401, 403, 404, 405, 409, 413, 422}
    assert any(one["status"] == 200 and one["method"] == "POST" for one in exchanges)
    if tenant == "b":
        assert not [one for one in exchanges if SECRET in one["said"]]


def test_without_a_token_nothing_but_health_answers(server: Site, tmp_path: Path) -> None:
    for one in fuzz(server, tmp_path, "--exclude-path", "/health", "--checks", "not_a_server_error"):
        wrong_method = one["status"] in (404, 405)
        assert one["status"] in (401, 403) or wrong_method, one

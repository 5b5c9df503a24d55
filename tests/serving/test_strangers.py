"""Who proves nobody: bounded by the address that they come from, and in the audit log."""

import asyncio
import importlib
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from markgraph.audit.file import FileAudit
from markgraph.audit.verify import records
from markgraph.build import compose, make, make_service
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor, TokenDoor
from markgraph.security.guard import Guard
from markgraph.security.issuer.server import FormRequest, Issuer
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.store import AuthStore
from markgraph.serving.app import create_app
from tests.security.provider import CLIENT, provider
from tests.security.test_limits import in_one_window
from tests.serving.running import default_guard

ADA = Caller("ada", ["reader"], "acme")
GRANT = {"grant_type": "client_credentials", "client_id": "ada"}
BAD = {"authorization": "Bearer mk_no"}


class Site(NamedTuple):
    """A server with auth=dev, a client's secret, and the log."""

    app: Any
    issuer: Issuer
    secret: str
    good: dict[str, str]
    log: FileAudit

    @contextmanager
    def at(self, address: str) -> Iterator[TestClient]:
        """Yield somebody at an address."""
        with TestClient(self.app, base_url="http://127.0.0.1", client=(address, 5000)) as http:
            yield http

    def taken_down(self) -> list[tuple[str, str, str]]:
        """Return what was taken down of whom."""
        found = list(records(self.log.folder)) if self.log.folder.exists() else []
        return [(one["action"], one["outcome"], one.get("error") or one["actor"]) for one in found]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    in_one_window(5)
    overrides = ["auth=dev", "auth.attempts=4", f"data_dir={tmp_path}"]
    door: TokenDoor = make(compose("serve", overrides), "auth")
    log = FileAudit(str(tmp_path / "audit"), str(tmp_path / "audit/keys"))
    app = create_app({}, door, Guard(make_service(compose("serve"), "policy"), log))
    assert door.issuer
    key = ApiKeys(AuthStore(str(tmp_path / "auth.sqlite"))).make(ADA, 1)
    return Site(app, door.issuer, door.issuer.clients.add(ADA), {"authorization": f"Bearer {key}"}, log)


def text_of(log: FileAudit) -> str:
    return "".join(file.read_text() for file in log.folder.glob("*.jsonl"))


def test_who_is_turned_away_is_taken_down_and_their_address_and_token_are_not_in_clear(site: Site) -> None:
    with site.at("10.1.2.3") as http:
        assert http.get("/openapi.json", headers=BAD).status_code == 401
        twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
        assert http.get("/openapi.json", headers=twice).status_code == 401
        assert http.get("/openapi.json", headers=site.good).status_code == 200
    assert site.taken_down() == [("door:enter", "denied", "UnauthenticatedError")] * 2
    (first, _) = records(site.log.folder)
    assert first["from"] == site.log.sealed("10.1.2.3")
    assert "10.1.2.3" not in text_of(site.log)
    assert "mk_no" not in text_of(site.log)


def test_too_many_tries_are_429_for_that_address_until_it_sends_a_good_token(site: Site) -> None:
    with site.at("10.1.2.3") as http:
        answers = [http.get("/openapi.json", headers=BAD) for _ in range(8)]
        assert [one.status_code for one in answers] == [401] * 4 + [429] * 4
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 120
        assert http.get("/openapi.json", headers=site.good).status_code == 200
        assert http.get("/health").status_code == 200
    with site.at("10.9.9.9") as http:
        assert http.get("/openapi.json", headers=BAD).status_code == 401
    denied = [error for *_, error in site.taken_down()]
    assert denied == ["UnauthenticatedError"] * 4 + ["LimitError", "UnauthenticatedError"]


@pytest.mark.parametrize(
    ("others", "same"),
    [
        (["2001:db8:1:2::1", "2001:db8:1:2:ffff::9"], True),
        (["2001:db8:1:2::1", "2001:db8:1:3::1"], False),
        (["::ffff:10.1.2.3", "10.1.2.3"], True),
        (["testclient", ""], True),
    ],
)
def test_addresses_that_are_one_persons_to_choose_count_as_one(
    site: Site, others: list[str], same: bool
) -> None:
    first, second = others
    with site.at(first) as http:
        for _ in range(4):
            http.get("/openapi.json", headers=BAD)
    with site.at(second) as http:
        assert http.get("/openapi.json", headers=BAD).status_code == (429 if same else 401)


def test_many_addresses_can_not_fill_the_log(site: Site) -> None:
    for at in range(100):
        with site.at(f"10.0.0.{at}") as http:
            assert http.get("/openapi.json", headers=BAD).status_code == 401
    assert len(site.taken_down()) == 80


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
def test_the_issuer_answers_so_many_tries_of_an_address(site: Site, path: str) -> None:
    with site.at("10.1.2.3") as http:
        codes = [http.post(path, data=GRANT | {"client_secret": "x"}).status_code for _ in range(6)]
        assert codes == [401] * 4 + [429] * 2
        assert "retry-after" in http.post(path, data=GRANT | {"client_secret": site.secret}).headers
    with site.at("10.9.9.9") as http:  # nobody locks a client out by its name
        right = {"client_secret": site.secret, "token": "x"}
        assert http.post(path, data=GRANT | right).status_code == 200


def test_tokens_that_are_issued_and_refused_and_revoked_are_taken_down(site: Site) -> None:
    right = GRANT | {"client_secret": site.secret}
    with site.at("10.1.2.3") as http:
        token = http.post("/oauth/token", data=right).json()["access_token"]
        http.post("/oauth/token", data=GRANT | {"client_secret": "my own words"})
        http.post("/oauth/token", data=GRANT, headers={"authorization": "Basic //79/Q=="})
        assert http.post("/oauth/revoke", data=right | {"token": token}).status_code == 200
    assert site.taken_down() == [
        ("tokens:issue", "done", "ada"),
        ("tokens:issue", "denied", "invalid_client"),
        ("tokens:issue", "denied", "invalid_client"),
        ("tokens:revoke", "done", "ada"),
    ]
    for words in (token, site.secret, "my own words"):
        assert words not in text_of(site.log)


def test_no_token_is_given_and_nobody_told_why_not_where_that_can_not_be_taken_down(site: Site) -> None:
    site.log.folder.write_text("no folder")
    with site.at("10.1.2.3") as http:
        right = GRANT | {"client_secret": site.secret}
        for answer in (http.post("/oauth/token", data=right), http.get("/openapi.json", headers=BAD)):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert "access_token" not in answer.text
            assert str(site.log.folder) not in answer.text


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
@pytest.mark.parametrize("basic", [True, False])
def test_a_wrong_name_can_not_be_told_from_a_wrong_secret(site: Site, path: str, basic: bool) -> None:
    seen = []
    for at, name in enumerate(("ada", "eve")):
        with site.at(f"10.0.0.{at}") as http:
            form = GRANT | {"client_id": name, "client_secret": "wrong"}
            given: Any = {"data": {"grant_type": GRANT["grant_type"]}, "auth": (name, "wrong")}
            answer = http.post(path, **(given if basic else {"data": form}))
            seen.append((answer.status_code, answer.text, sorted(answer.headers)))
    assert seen[0] == seen[1]
    assert seen[0][0] == 401


@pytest.mark.slow
def test_a_wrong_name_takes_as_long_as_a_wrong_secret(site: Site) -> None:
    spent: dict[str, list[float]] = {"ada": [], "eve": []}
    for _ in range(400):
        for name, times in spent.items():
            form = FormRequest(site.issuer.url, GRANT | {"client_id": name, "client_secret": "wrong"}, {})
            began = time.perf_counter()
            site.issuer.create_token_response(form)
            times.append(time.perf_counter() - began)
    known, unknown = (statistics.median(times) for times in spent.values())
    assert 0.8 < known / unknown < 1.25


def test_logins_are_bounded_and_taken_down(tmp_path: Path) -> None:
    in_one_window(5)
    log = FileAudit(str(tmp_path / "audit"), str(tmp_path / "audit/keys"))
    with provider() as idp:
        settings = [f"auth.issuer={idp.url}", f"auth.login.client_id={CLIENT}", "auth.attempts=5"]
        door = make(compose("serve", ["auth=oidc", *settings, f"data_dir={tmp_path}"]), "auth")
        app = create_app({}, door, Guard(make_service(compose("serve"), "policy"), log))
        with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as http:
            assert [http.get("/login").status_code for _ in range(3)] == [303] * 3
            assert http.get("/login/callback?code=x&state=y").status_code == 401
            http.cookies.clear()
            assert http.get("/login/callback?code=x&state=y").status_code == 401
            for path in ("/login", "/login/callback"):
                answer = http.get(path)
                assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    found = [(one["action"], one["outcome"], one["error"]) for one in records(log.folder)]
    assert [error for *_, error in found] == ["UnauthenticatedError", "BadSignature"]
    assert {each[:2] for each in found} == {("sessions:begin", "denied")}


def test_without_a_bound_and_a_log_everybody_is_just_turned_away() -> None:
    app = create_app({}, LocalDoor(ADA), default_guard())
    with TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.9", 1)) as http:
        assert {http.get("/openapi.json").status_code for _ in range(200)} == {403}


def test_langgraph_server_turns_strangers_away_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("langgraph_sdk")
    from starlette.exceptions import HTTPException

    from markgraph.serving import langgraph_auth

    in_one_window(5)
    monkeypatch.setenv("MARKGRAPH_HOME", str(tmp_path))
    monkeypatch.setenv("MARKGRAPH_OVERRIDES", f"auth=dev auth.attempts=2 model=fake data_dir={tmp_path}")
    codes = []
    try:
        door = importlib.reload(langgraph_auth)
        for _ in range(4):
            with pytest.raises((door.Refused, HTTPException)) as caught:
                asyncio.run(door.authenticate({"client": ("10.1.2.3", 1), "headers": []}))
            codes.append(caught.value.status_code)
        log = door._GUARD.audit
        assert isinstance(log, FileAudit)
        assert [one["error"] for one in records(log.folder)] == ["UnauthenticatedError"] * 2 + ["LimitError"]
        log.close()
        shutil.rmtree(log.folder)
        log.folder.write_text("no folder")
        with pytest.raises(HTTPException, match="log can't be written") as caught:
            asyncio.run(door.authenticate({"client": ("10.9.9.9", 1), "headers": []}))
        assert caught.value.status_code == 503
    finally:
        monkeypatch.undo()
        importlib.reload(langgraph_auth)
    assert codes == [401, 401, 429, 429]

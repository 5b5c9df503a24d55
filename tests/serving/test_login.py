"""People log in by their browsers at an identity provider."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from markgraph.audit.file import FileAudit
from markgraph.audit.verify import records
from markgraph.build import compose, load_graph, make
from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.serving.app import create_app
from tests.retrieval.index_suite import chunk
from tests.security.provider import CLIENT, SECRET, Provider, provider, serving
from tests.serving.running import default_guard
from tests.serving.test_playground import CHROMIUM, FLAGS

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
]

LIABILITY = "The supplier's liability under this contract is capped at 150 % of the yearly fees."
QUESTION = "The supplier's liability under this contract is capped at how many % of the yearly fees?"


@dataclass(frozen=True)
class Site:
    """A server whose people log in at a provider."""

    url: str
    provider: Provider
    log: FileAudit


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("login")
    (folder / "secret").write_text(SECRET)
    index = WordsIndex(folder / "words.sqlite")
    index.add([chunk(LIABILITY, "g:legal", tenant="acme")])
    services: Any = {"model": FakeChatModel(), "embedder": HashEmbeddings(), "index": index}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with provider() as idp:
        settings = [
            f"auth.issuer={idp.url}",
            f"auth.login.url=http://127.0.0.1:{port}",
            f"auth.login.client_id={CLIENT}",
            f"auth.login.secret_file={folder / 'secret'}",
            f"data_dir={folder}",
            "auth.attempts=null",
        ]
        log = FileAudit(str(folder / "audit"), str(folder / "audit/keys"))
        door = make(compose("serve", ["auth=oidc", *settings]), "auth")
        with serving(
            create_app({"qa": load_graph("qa", **services)}, door, replace(default_guard(), audit=log)),
            port,
        ) as url:
            yield Site(url, idp, log)


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """Return a client that keeps cookies, and says what browsers say of its requests."""
    with httpx.Client(headers={"sec-fetch-site": "same-origin"}, follow_redirects=True) as client:
        yield client


def log_in(site: Site, browser: httpx.Client, user: str = "anna") -> httpx.Response:
    page = browser.get(f"{site.url}/login?next=/qa/playground/")
    return browser.post(page.url, data={"user": user})


def ask(site: Site, browser: httpx.Client, **headers: str) -> httpx.Response:
    body = {"input": {"question": QUESTION}}
    return browser.post(f"{site.url}/qa/invoke", json=body, headers={"origin": site.url, **headers})


def test_who_logs_in_asks_as_themselves(site: Site, browser: httpx.Client) -> None:
    assert ask(site, browser).status_code == 401
    landed = log_in(site, browser)
    assert 'url=/qa/playground/"' in landed.text
    cookie = landed.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    answer = ask(site, browser)
    assert answer.status_code == 200
    assert "150 %" in answer.json()["output"]["answer"]
    begun = [each for each in records(site.log.folder) if each["action"] == "sessions:begin"]
    assert (begun[-1]["actor"], begun[-1]["tenant"], begun[-1]["outcome"]) == ("anna", "acme", "done")


def test_another_tenant_sees_nothing_of_it(site: Site, browser: httpx.Client) -> None:
    log_in(site, browser, "boris")
    answer = ask(site, browser)
    assert answer.status_code == 200
    assert "150 %" not in answer.text


def test_who_logs_out_is_nobody_and_so_is_a_copy_of_the_cookie(site: Site, browser: httpx.Client) -> None:
    log_in(site, browser)
    stolen = {"cookie": f"mark={browser.cookies['mark']}", "origin": site.url}
    assert httpx.get(f"{site.url}/qa/input_schema", headers=stolen).status_code == 200
    assert browser.post(f"{site.url}/logout", headers={"origin": site.url}).status_code == 204
    assert httpx.get(f"{site.url}/qa/input_schema", headers=stolen).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "http://localhost"},
    ],
)
def test_a_session_does_not_count_on_pages_of_others(
    headers: dict[str, str], site: Site, browser: httpx.Client
) -> None:
    log_in(site, browser)
    assert ask(site, browser, **headers).status_code == 401
    assert browser.post(f"{site.url}/logout", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 401),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 401),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 401),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
def test_a_link_from_elsewhere_may_be_followed_but_nothing_fetched(
    headers: dict[str, str], status: int, site: Site, browser: httpx.Client
) -> None:
    log_in(site, browser)
    assert browser.get(f"{site.url}/qa/input_schema", headers=headers).status_code == status


def test_opening_a_page_leads_to_the_login_and_calling_a_route_does_not(site: Site) -> None:
    page = httpx.get(f"{site.url}/qa/playground/", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2Fqa%2Fplayground%2F")
    assert httpx.get(f"{site.url}/qa/playground/").status_code == 401


@pytest.mark.parametrize(
    "goes_on", ["https://evil.example", "//evil.example", "/\\evil.example", '/"><script>']
)
def test_a_login_ends_on_this_server_only(goes_on: str, site: Site, browser: httpx.Client) -> None:
    page = browser.get(f"{site.url}/login", params={"next": goes_on})
    landed = browser.post(page.url, data={"user": "anna"})
    assert 'url=/"' in landed.text
    assert "evil" not in landed.text


def callback(site: Site, browser: httpx.Client, **changes: str | None) -> httpx.Response:
    """Log in, but bring back an answer with `changes`."""
    page = browser.get(f"{site.url}/login")
    sent = browser.post(page.url, data={"user": "anna"}, follow_redirects=False).headers["location"]
    answer = {name: values[0] for name, values in parse_qs(urlsplit(sent).query).items()} | changes
    query = urlencode({name: value for name, value in answer.items() if value is not None})
    return browser.get(f"{site.url}/login/callback?{query}")


@pytest.mark.parametrize(
    "changes",
    [{"state": "another"}, {"state": None}, {"code": None}, {"iss": "https://evil.example"}],
)
def test_an_answer_to_another_login_does_not_count(
    changes: dict[str, str | None], site: Site, browser: httpx.Client
) -> None:
    assert callback(site, browser, **changes).status_code == 401
    assert ask(site, browser).status_code == 401


def test_an_answer_in_another_browser_does_not_count(site: Site, browser: httpx.Client) -> None:
    page = browser.get(f"{site.url}/login")
    sent = browser.post(page.url, data={"user": "anna"}, follow_redirects=False).headers["location"]
    assert httpx.get(sent).status_code == 401
    changed = httpx.get(sent, headers={"cookie": f"mark_login={browser.cookies['mark_login'][:-1]}"})
    assert changed.status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "another-client"},
        {"aud": [CLIENT, "x"], "azp": "x"},
        {"iss": "https://evil.example"},
        {"exp": 10**9},
        {"tenant": ""},
    ],
)
def test_an_id_token_that_is_not_for_this_login_does_not_count(
    claims: dict[str, Any], site: Site, browser: httpx.Client
) -> None:
    site.provider.id_claims = claims
    try:
        assert callback(site, browser).status_code == 401
    finally:
        site.provider.id_claims = {}
    assert callback(site, browser).status_code == 200


def test_a_code_that_was_used_does_not_count(site: Site, browser: httpx.Client) -> None:
    page = browser.get(f"{site.url}/login")
    sent = browser.post(page.url, data={"user": "anna"}, follow_redirects=False).headers["location"]
    kept = browser.cookies["mark_login"]
    assert browser.get(sent).status_code == 200
    assert httpx.get(sent, headers={"cookie": f"mark_login={kept}"}).status_code == 401


def test_a_session_needs_https_anywhere_but_here(tmp_path: Path) -> None:
    settings = [
        "auth.issuer=https://id.example",
        "auth.login.client_id=x",
        "auth.login.url=http://mark.example",
    ]
    with pytest.raises(ConfigError, match=r"auth\.login\.url"):
        make(compose("serve", ["auth=oidc", *settings]), "auth")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one")
def test_a_person_logs_in_and_asks_in_the_playground(site: Site) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{site.url}/qa/playground/")
        page.get_by_label("user").fill("anna")
        page.get_by_role("button", name="Let me in").click()
        page.get_by_role("textbox").first.fill(QUESTION)
        page.get_by_role("button", name="Start").click()
        page.get_by_text("150 %").last.wait_for(timeout=30_000)
        browser.close()

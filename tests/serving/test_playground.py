"""The playground page in a real browser."""

import shutil

import pytest

from tests.serving.conftest import ANSWER, PAY

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `make browser` installs one")
def test_a_question_asked_in_the_playground_is_answered(server: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{server}/qa/playground/")
        page.get_by_role("textbox").first.fill(PAY)
        page.get_by_role("button", name="Start").click()
        page.get_by_text(ANSWER.removesuffix(" [1]")).first.wait_for(timeout=30_000)
        browser.close()

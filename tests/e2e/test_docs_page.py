"""`/docs` in a real browser: it works without any other host, and asks what is typed into it."""

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from modelrunner.testing.browser import window
from modelrunner.testing.daemon import Runner
from modelrunner.testing.gguf import tiny_gguf


def test_the_page_describes_every_route_and_asks(browser: Browser, fake: Runner, tmp_path: Path) -> None:
    """A chat is sent as the page suggests it, and answered; the browser has nothing to complain of."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    with window(browser, fake.url) as opened:
        page = opened.page
        page.goto(f"{fake.url}/docs")
        rows = page.locator("#routes > details")
        expect(rows.nth(100)).to_be_attached()
        page.get_by_label("filter").fill("/v1/chat/completions")
        chat = rows.filter(has=page.get_by_text("/v1/chat/completions", exact=True)).first
        chat.locator("summary").first.click()
        chat.get_by_text("its fields").click()
        expect(chat.get_by_text("tool_choice", exact=True)).to_be_visible()
        chat.get_by_role("button", name="send").click()
        expect(chat.locator("pre").last).to_have_text(re.compile(r"^200 OK.*chat\.completion", re.DOTALL))

    assert [] == opened.complaints

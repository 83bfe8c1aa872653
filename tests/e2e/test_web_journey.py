"""The whole way in the web app, in a real browser with the real engine: from an empty store to the reason."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from modelrunner.testing.browser import window
from modelrunner.testing.daemon import running

TURNS = ("The password is banana.", "What is the password?")


@pytest.mark.engine
@pytest.mark.timeout(180)
def test_from_an_empty_store_to_the_reason_why_a_model_was_unloaded(
    browser: Browser, tmp_path: Path, smollm2: Path
) -> None:
    """Package, chat two turns of which the second knows the first, find it, replay it, unload, read on."""
    with running(tmp_path / "home") as daemon, window(browser, daemon.url) as opened:
        page = opened.show()
        page.get_by_role("link", name="Pull a model").click()
        expect(page.get_by_role("dialog", name="Pull a model")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Package", exact=True).click()
        page.get_by_label("GGUF file").set_input_files(smollm2)
        page.get_by_role("textbox", name="Name").fill("local/smollm2")
        page.locator("form#package").evaluate("form => form.requestSubmit()")
        page.get_by_role("link", name="Chat with local/smollm2").click()

        page.get_by_role("button", name="System prompt and parameters").click()
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Longest answer").fill("40")
        for number, text in enumerate(TURNS, 1):
            page.get_by_label("Message", exact=True).fill(text)
            page.keyboard.press("Enter")
            expect(page.locator("article.assistant")).to_have_count(number)
            expect(page.get_by_role("button", name="Stop")).to_have_count(0, timeout=90_000)
            expect(page.get_by_text("tokens/s")).to_have_count(number)
        expect(page.locator("article.assistant").last).to_contain_text(re.compile("banana", re.IGNORECASE))
        expect(page.get_by_role("meter", name="Context in use")).to_be_visible()

        page.get_by_role("link", name="Requests").click()
        page.get_by_label("Search prompts and answers").fill("password")
        expect(page.locator("a.request mark").first).to_have_text("password")
        page.locator("a.request").first.click()
        detail = page.get_by_role("region", name="Request 2")
        expect(detail).to_contain_text("The password is banana.")
        expect(detail.get_by_role("img", name=re.compile("Timeline: .*tokens"))).to_be_visible()
        detail.get_by_role("button", name="Replay").click()
        page.locator("form#replay").evaluate("form => form.requestSubmit()")
        replayed = page.get_by_role("region", name="Request 3")
        expect(replayed).to_contain_text("replay of 2", timeout=90_000)
        replayed.get_by_role("button", name="Compare with 2").click()
        expect(page.get_by_role("dialog")).to_contain_text("Answer")
        page.keyboard.press("Escape")

        page.get_by_role("link", name="Models").click()
        page.get_by_role("button", name="Unload local/smollm2").click()
        page.get_by_role("link", name="Activity").click()
        expect(page.get_by_role("listitem").filter(has_text="on command").first).to_be_visible()
        page.get_by_role("link", name="Logs").click()
        page.get_by_label("Search the log").fill("model packaged")
        page.get_by_label("Search the log").fill("smollm2")
        expect(page.get_by_role("log")).to_contain_text("local/smollm2")
        kept = json.loads(daemon.must("list", "--json"))

        assert opened.complaints == []
        assert len(kept) == 1

"""A real browser for tests, benchmarks and pictures: Debian's Chromium, which asks nobody but the daemon."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Without the latter half it looks for its maker's servers at every start.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE = 20_000  # milliseconds; the machine may be busy


def program() -> Path:
    """Find the browser.

    Raises:
        FileNotFoundError: there is none.
    """
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError("no Chromium: install it, as `scripts/test-packages` does")
    return Path(found)


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser for as long as the block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program(),
            args=list(_ARGUMENTS),
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": ""},
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Window:
    """A profile of its own with a page on the app; `complaints` is what the browser said against it.

    That is what the page's policy forbade, what scripts did not catch, and requests to anybody else.
    """

    url: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def show(self, path: str = "") -> Page:
        """Go to a page of the app."""
        self.page.goto(f"{self.url}/ui/{path}")
        return self.page

    def another(self) -> Page:
        """Open a second tab of the same profile."""
        page = self.context.new_page()
        self.listen(page)
        return page

    def listen(self, page: Page) -> None:
        """Take down what the browser says against a page."""
        page.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        page.on("console", lambda message: self._said(message))  # noqa: PLW0108 - what it keeps it hangs on the method's object
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        # That an answer is 404, or that a daemon is gone, is the tests' own doing.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.complaints.append(f"asked {url}")


@contextlib.contextmanager
def window(browser: Browser, url: str, **options: object) -> Iterator[Window]:
    """Open a profile of its own for as long as the block lasts; `options` are Playwright's of a context."""
    context = browser.new_context(**{"viewport": {"width": 1360, "height": 860}, **options})  # type: ignore[arg-type]  # passed on
    try:
        opened = Window(url, context, context.new_page())
        opened.listen(opened.page)
        yield opened
    finally:
        context.close()

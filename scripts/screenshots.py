"""Pictures of every page of the web app, in light and dark and on a narrow screen: `make screenshots`.

A daemon with the real engine is asked a few things first, so that there is something to see. With `--docs`
the best ones go into `docs/images` instead.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, Page, expect

from modelrunner.testing.browser import Window, browsing, window
from modelrunner.testing.daemon import Runner, running
from scripts.fetch_test_model import fetch

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / ".screenshots"
IMAGES = ROOT / "docs" / "images"
QUESTIONS = (
    "Name a colour.",
    "Count to five.",
    "What is the capital of France?",
    "Write one sentence about rain.",
)
# What the small model answers well, the last chat in two turns. Every word in the pictures is its own.
CHATS = (
    ("Why is the sky blue?",),
    ("Name three colours of the rainbow.",),
    (
        "Write a Python function to check whether a word is a palindrome.",
        "Now one that reverses a word.",
    ),
)
STEADY = ("--predict", "240", "--temp", "0")  # the same answers each time, and none without end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true", help="the best ones, into docs/images")
    folder = IMAGES if parser.parse_args().docs else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as daemon, browsing() as browser:
        _fill(daemon)
        for path in _docs(browser, daemon, folder) if folder == IMAGES else _all(browser, daemon, folder):
            print(path.relative_to(ROOT))


def _fill(daemon: Runner) -> None:
    """Have a few models, requests and events."""
    weights = fetch()
    for name in ("ai/smollm2", "team/assistant:v2"):
        daemon.must("package", "--gguf", weights, name)
    daemon.must("configure", "ai/smollm2", "--", *STEADY)
    daemon.must("package", "--from", "ai/smollm2", "--context-size", "16384", "ai/smollm2:16k")

    def ask(text: str, model: str = "ai/smollm2") -> None:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
        with urlopen(Request(f"{daemon.url}/v1/chat/completions", json.dumps(body).encode())) as reply:
            reply.read()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, QUESTIONS * 3))
    ask(QUESTIONS[0], "team/assistant:v2")
    ask(QUESTIONS[1], "ai/smollm2:16k")
    daemon.must("unload", "team/assistant:v2")


PAGES = {
    "chat": "chat?model=ai/smollm2",
    "new-chat": "chat",
    "models": "models",
    "model": "models/ai/smollm2:latest",
    "requests": "requests",
    "request": "requests/3",
    "activity": "activity",
    "logs": "logs",
    "settings": "settings",
}


def _all(browser: Browser, daemon: Runner, folder: Path) -> Iterator[Path]:
    sizes = {"": {"width": 1360, "height": 860}, "-narrow": {"width": 390, "height": 780}}
    for scheme in ("light", "dark"):
        for size, viewport in sizes.items():
            with window(browser, daemon.url, viewport=viewport, color_scheme=scheme) as opened:
                for name, path in PAGES.items():
                    yield _picture(opened, path, folder / f"{name}-{scheme}{size}.png")


def _docs(browser: Browser, daemon: Runner, folder: Path) -> Iterator[Path]:
    chosen = {"light": ("chat", "model"), "dark": ("request",)}
    for scheme, names in chosen.items():
        viewport = {"width": 1200, "height": 740}
        with window(browser, daemon.url, viewport=viewport, color_scheme=scheme) as opened:
            for name in names:
                yield _picture(opened, PAGES[name], folder / f"web-{name}.png")


def _picture(opened: Window, path: str, target: Path) -> Path:
    page = opened.show(path)
    page.locator(".state .dot.up").wait_for(state="attached")
    if path == PAGES["chat"]:
        for prompts in CHATS:
            page = opened.show(path)
            for prompt in prompts:
                _say(page, prompt)
        page.wait_for_selector("article.assistant .hljs-keyword")
    page.wait_for_timeout(1200)  # for what moves and what is polled; a picture, not a test
    page.screenshot(path=target)
    return target


def _say(page: Page, text: str) -> None:
    """Say something, and wait until the answer is whole."""
    answers = page.locator("article.assistant")
    before = answers.count()
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(answers).to_have_count(before + 1)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0, timeout=120_000)


if __name__ == "__main__":
    main()

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

from playwright.sync_api import Browser

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
# The words are ours, since the small model has few; that they are shown so is the app's doing.
ANSWER = r"""The roots of $ax^2 + bx + c$ are

$$x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}$$

which in Python is:

```python
from cmath import sqrt


def roots(a: float, b: float, c: float):
    d = sqrt(b * b - 4 * a * c)
    return (-b + d) / (2 * a), (-b - d) / (2 * a)
```

| discriminant | roots |
|---|---|
| positive | two real ones |
| zero | one, twice |
| negative | two complex ones |
"""
TURNS = (
    ("user", "How do I find the roots of a quadratic equation in Python?"),
    ("assistant", ANSWER),
    ("user", "Thank you!"),
    ("assistant", "You are welcome. `roots(1, -3, 2)` gives 2 and 1, for example."),
)
KEEP = """
async turns => {
  const conversation = {
    id: 'example', title: 'Roots of a quadratic equation', named: true, created: Date.now() - 3e5,
    updated: Date.now() - 6e4, model: 'ai/smollm2:latest', system: '', parameters: {},
    leaf: `${turns.length - 1}`,
  }
  const messages = turns.map(([role, content], index) => ({
    id: `${index}`, conversation: 'example', parent: index ? `${index - 1}` : null, role, content,
    created: index, model: role === 'assistant' ? 'ai/smollm2:latest' : undefined,
    usage: role === 'assistant' ? { prompt: 120 * (index + 1), completion: 214 } : undefined,
    speed: 48, first: 180, finish: 'stop', request: role === 'assistant' ? 'x' : undefined,
  }))
  const database = await new Promise((done, failed) => {
    const asked = indexedDB.open('modelrunner')
    asked.onsuccess = () => done(asked.result)
    asked.onerror = () => failed(asked.error)
  })
  const writing = database.transaction(['conversations', 'messages'], 'readwrite')
  writing.objectStore('conversations').put(conversation)
  const others = [
    'Names for a small boat', 'What rain is made of', 'A letter to the landlord', 'Regular expressions',
  ]
  others.forEach((title, index) => writing.objectStore('conversations').put({
    ...conversation, id: `other-${index}`, title, leaf: null, updated: Date.now() - 36e5 * (index * 9 + 2),
  }))
  messages.forEach(each => writing.objectStore('messages').put(each))
  await new Promise(done => { writing.oncomplete = done })
}
"""


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
    daemon.must("configure", "ai/smollm2", "--", "--predict", "60")
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
    "chat": "chat/example",
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
        page.evaluate(KEEP, TURNS)
        page.reload()
        page.wait_for_selector("article.assistant .hljs-keyword")
    page.wait_for_timeout(1200)  # for what moves and what is polled; a picture, not a test
    page.screenshot(path=target)
    return target


if __name__ == "__main__":
    main()

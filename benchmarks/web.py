"""The web app in a real browser: its first paint, its scripts, and scrolling in long lists."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

from playwright.sync_api import Browser, Page

import modelrunner.server
from benchmarks.figures import Figure, show
from modelrunner.testing.browser import browsing, window
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

STARTS = 7
LINES, REQUESTS, MESSAGES = 10_000, 5_000, 2_000
BUILT = Path(modelrunner.server.__file__).parent / "ui"

# When the box for a message is there and has been painted, in milliseconds since the page was asked for.
_WATCH = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('textarea')) return
  observer.disconnect()
  requestAnimationFrame(() => requestAnimationFrame(() => { window.usefulAt = performance.now() }))
}).observe(document, { childList: true, subtree: true })
"""
_LONG_TASKS = """
() => {
  window.longest = 0
  new PerformanceObserver(list => {
    for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration)
  }).observe({ entryTypes: ['longtask'] })
}
"""
_CHAT = """
async count => {
  const text = index => `Turn ${index} with **bold** words, \\`code\\` and a list:\\n\\n- one\\n- two\\n\\n` +
    (index % 10 ? 'A paragraph that is a little longer. '.repeat(4) : '```python\\nprint(1)\\n```')
  const database = await new Promise(done => {
    const asked = indexedDB.open('modelrunner')
    asked.onsuccess = () => done(asked.result)
  })
  const writing = database.transaction(['conversations', 'messages'], 'readwrite')
  writing.objectStore('conversations').put({
    id: 'long', title: 'Long', created: 1, updated: 1, model: 'ai/tiny', system: '', parameters: {},
    leaf: `${count - 1}`,
  })
  for (let index = 0; index < count; index += 1) writing.objectStore('messages').put({
    id: `${index}`, conversation: 'long', parent: index ? `${index - 1}` : null, created: index,
    role: index % 2 ? 'assistant' : 'user', content: text(index),
  })
  await new Promise(done => { writing.oncomplete = done })
}
"""


def main() -> bool:
    """Measure, print, and tell whether all bounds were kept."""
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        home = Path(folder)
        logs = home / ".local/state/modelrunner/logs"
        logs.mkdir(parents=True)
        stamp = '[2026-01-02T03:04:05.{:09d}Z] level=INFO logger=bench msg="line of the log number={}"\n'
        (logs / "inference.log").write_text("".join(stamp.format(n, n) for n in range(LINES)))
        engine = fake_llama_server(home / "engine")
        with running(home, LLAMA_SERVER_PATH=str(engine)) as daemon:
            daemon.must("package", "--gguf", tiny_gguf(home / "tiny.gguf"), "ai/tiny")
            _ask(daemon, REQUESTS)
            paints, scripts = zip(*(_start(browser, daemon) for _ in range(STARTS)), strict=True)
            figures = [
                Figure("first useful paint, cold", paints, "ms", at_most=500),
                Figure("scripts until then, gzipped", scripts, "kB", at_most=200),
            ]
            for what, *place in (
                (f"{LINES:,} lines of the log", "logs", ".line", ".lines"),
                (f"{REQUESTS:,} requests", "requests", ".request", ".rows .body"),
                (f"a chat of {MESSAGES:,} turns", "chat/long", ".turn", ".thread"),
            ):
                name = f"longest task while scrolling {what}"
                figures += [
                    Figure(name, _scrolled(browser, daemon, *place), "ms", at_most=50),
                    Figure("  at half the speed", _scrolled(browser, daemon, *place, slowed=2), "ms"),
                ]
    return show("web app", figures)


def _ask(daemon: Runner, count: int) -> None:
    """Have so many requests recorded."""
    body = json.dumps({"model": "ai/tiny", "messages": [{"role": "user", "content": "hello there"}]})

    def some(part: int) -> None:
        connection = HTTPConnection("127.0.0.1", daemon.port)
        for _ in range(part):
            connection.request("POST", "/v1/chat/completions", body)
            connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(some, [count // 4] * 4))


def _start(browser: Browser, daemon: Runner) -> tuple[float, float]:
    """Open the app with nothing in the cache; milliseconds until it can be used, kilobytes of scripts."""
    with window(browser, daemon.url) as opened:
        opened.page.add_init_script(_WATCH)
        page = opened.show()
        page.locator("textarea").wait_for()
        page.wait_for_timeout(200)
        useful = float(page.evaluate("window.usefulAt"))
        loaded = page.evaluate(
            "performance.getEntriesByType('resource').map(each => new URL(each.name).pathname)"
            ".filter(path => path.endsWith('.js'))"
        )
    names = {path.removeprefix("/ui/") for path in loaded}
    return useful, sum((BUILT / f"{name}.gz").stat().st_size for name in names) / 1000


def _scrolled(
    browser: Browser, daemon: Runner, path: str, row: str, pane: str, *, slowed: int = 1
) -> tuple[float, ...]:
    """Scroll through a list, quickly and in leaps; the longest task meanwhile, in milliseconds, 0 below 50.

    The browser can be slowed down, so that a figure says how far from the bound it is.
    """
    longest = []
    for _ in range(3):
        with window(browser, daemon.url) as opened:
            page = opened.show()
            if path.startswith("chat"):
                page.locator("textarea").wait_for()
                page.evaluate(_CHAT, MESSAGES)
            page = opened.show(path)
            page.locator(row).first.wait_for()
            page.wait_for_timeout(3000)  # until all of it has come
            page.evaluate(_LONG_TASKS)
            opened.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slowed})
            _wheel(page, pane)
            longest.append(float(page.evaluate("window.longest")))
    return tuple(longest)


def _wheel(page: Page, pane: str) -> None:
    box = page.locator(pane).first.bounding_box()
    assert box is not None, pane
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for by in [-700] * 20 + [-9000] * 12 + [700] * 20 + [9000] * 12:
        page.mouse.wheel(0, by)
        page.wait_for_timeout(25)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)

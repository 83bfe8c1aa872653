"""The web app in a real browser, with the scripted engine: what people do in it, and what could go wrong."""

import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.browser import Window, window
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

# Slow enough to be stopped, fast enough to be waited for; pulls are slow enough to be left.
ENGINE = json.dumps({"tokens_per_second": 150})


class DockerHub:
    """Docker Hub's list of models, and its registry with one of them, at one address."""

    def __init__(self) -> None:
        self.registry = FakeRegistry()
        artifact = make_artifact(b"found" * 1000)
        self.registry.add("ai/found", "latest", artifact.content, artifact.contents)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].startswith("/v2/repositories/"):
            await self.registry(scope, receive, send)
            return
        rows = [{"name": "found", "description": "a <b>model</b> to be found", "pull_count": 1234}]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps({"results": rows}).encode()})


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A daemon with two models; the tests here share it, and delete only what is theirs."""
    folder = tmp_path_factory.mktemp("web")
    program = fake_llama_server(folder / "engine")
    variables = {"LLAMA_SERVER_PATH": str(program), "FAKE_ENGINE": ENGINE, "DMR_PULL_LIMIT": "3MB"}
    with (
        serving_in_thread(DockerHub()) as hub,
        running(
            folder / "home", **variables, DMR_HUB_ENDPOINT=hub, MODEL_RUNNER_REGISTRY_MIRRORS=hub
        ) as runner,
    ):
        for name in ("ai/tiny", "ai/other"):
            runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf", **{"general.name": name}), name)
        yield runner


@pytest.fixture
def app(browser: Browser, daemon: Runner) -> Iterator[Window]:
    """A window without any history; nothing may be forbidden, thrown, or asked of anybody else."""
    with window(browser, daemon.url) as opened:
        yield opened
        assert opened.complaints == []


def _say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def _answered(page: Page, text: str) -> None:
    """Wait until the last answer is there, and whole."""
    expect(page.locator("article.assistant").last).to_contain_text(text)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_a_chat_is_kept_branched_searched_and_renamed(app: Window) -> None:
    """What was said is there after the page is loaded again, and nothing that was said before it is lost."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "the first question")
    _answered(page, "the first question")
    page.reload()
    expect(page.locator("article.assistant")).to_contain_text("the first question")

    page.get_by_role("button", name="Edit and send again").click()
    page.get_by_label("Edit your message").fill("another question")
    page.keyboard.press("Enter")
    _answered(page, "another question")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.get_by_text("2/2")).to_have_count(2)
    _answered(page, "another question")
    page.locator("article.user").get_by_role("button", name="Earlier version").click()
    expect(page.locator("article.assistant")).to_contain_text("the first question")

    page.get_by_role("button", name="Branch off into a new chat").last.click()
    expect(page.get_by_role("heading", name="the first question (branch)")).to_be_visible()
    page.get_by_label("Search chats").fill("another")
    expect(page.get_by_role("list", name="Chats").get_by_role("listitem")).to_have_count(1)
    page.get_by_label("Search chats").fill("")
    page.get_by_role("button", name="Rename the first question (branch)").click()
    page.get_by_label("Title").fill("Renamed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Renamed")).to_be_visible()


def test_an_answer_can_be_stopped_and_a_chat_exported(app: Window, tmp_path: Path) -> None:
    """What had come is kept, and goes into the file."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "word " * 2000)
    expect(page.locator("article.assistant")).to_contain_text("word word word")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("stopped")).to_be_visible()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON, everything").click()
    download.value.save_as(tmp_path / "chat.json")
    turns = json.loads((tmp_path / "chat.json").read_text())["messages"]

    assert [turn["role"] for turn in sorted(turns, key=lambda turn: turn["created"])] == ["user", "assistant"]
    assert any(turn.get("finish") == "stopped" and "word word" in turn["content"] for turn in turns)


def test_two_models_answer_side_by_side(app: Window) -> None:
    """Both get the same prompt, and each its own history."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "before")
    _answered(page, "before")
    page.get_by_role("button", name="Two models side by side").click()
    _say(page, "for both of you")
    for name in ("ai/tiny", "ai/other"):
        thread = page.get_by_role("log", name=name)
        expect(thread.locator("article.assistant").last).to_contain_text("for both of you")
        expect(thread.locator("article.user").first).to_contain_text("before")


EVIL = (
    "<script>window.pwned=1</script> <img src=x onerror=window.pwned=2> <svg onload=window.pwned=3> "
    "[click](javascript:window.pwned=4) ![x](http://elsewhere.example/x.png) <iframe srcdoc='<script>1'> "
    "<style>*{display:none}</style> \u001b[31mred\u001b[0m \u202egnirts \ud83d half"
)


def test_a_prompt_that_is_a_script_is_only_text(app: Window) -> None:
    """Neither in the chat, nor in the requests, nor in the log: nothing runs, loads or hides anything."""
    page = app.show("chat?model=ai/tiny")
    page.evaluate("text => { window.evil = text }", EVIL)
    page.get_by_label("Message", exact=True).evaluate(
        "(area, text) => { area.value = text; area.dispatchEvent(new Event('input')) }", EVIL
    )
    page.keyboard.press("Enter")
    _answered(page, "<script>window.pwned=1</script>")
    page.get_by_role("link", name="See the request").click()
    expect(page.get_by_role("region", name=re.compile("Request"))).to_contain_text("onerror=window.pwned=2")
    page.get_by_role("tab", name="Response").click()
    expect(page.locator("pre").first).to_contain_text("window.pwned=1")

    assert page.evaluate("window.pwned") is None
    assert page.locator("aside img, aside iframe, aside svg[onload]").count() == 0
    assert page.locator('a[href^="javascript"]').count() == 0


def test_a_prompt_of_ten_megabytes_does_not_stop_the_page(app: Window) -> None:
    """It is sent and answered whole, shown in part, and found again; the page goes on meanwhile."""
    page = app.show("chat?model=ai/tiny")
    page.get_by_label("Message", exact=True).evaluate(
        "area => { area.value = 'long' + 'x'.repeat(10_000_000); area.dispatchEvent(new Event('input')) }"
    )
    page.keyboard.press("Enter")
    _answered(page, "longxxx")
    expect(page.get_by_role("button", name="Show all 10,000,004 characters").last).to_be_visible()
    page.get_by_role("link", name="See the request").click()
    expect(page.get_by_role("region", name=re.compile("Request"))).to_contain_text("longxxx")


def test_pictures_and_texts_go_along(app: Window, tmp_path: Path) -> None:
    """A picture is shown and sent as data; of a text file the text is in the message; others are refused."""
    (tmp_path / "notes.txt").write_text("secret-of-the-file")
    (tmp_path / "blob.bin").write_bytes(b"\0\1\2")
    page = app.show("chat?model=ai/tiny")
    page.set_input_files("input[type=file]", [tmp_path / "notes.txt", tmp_path / "blob.bin"])
    expect(page.get_by_text("blob.bin is neither a picture nor a text")).to_be_visible()
    _say(page, "what does it say")
    _answered(page, "secret-of-the-file")

    expect(page.locator("article.user")).to_contain_text("notes.txt")


def test_a_pull_goes_on_without_the_page_and_is_resumed(app: Window, daemon: Runner) -> None:
    """Leaving, cancelling and beginning again cost nothing of what has come."""
    artifact = make_artifact(b"weights" * 1_500_000)
    registry = FakeRegistry()
    registry.add("team/model", "v1", artifact.content, artifact.contents)
    with serving_in_thread(registry) as url:
        name = f"{url.removeprefix('http://')}/team/model:v1"
        page = app.show("models")
        page.get_by_role("button", name="Pull", exact=True).first.click()
        page.get_by_label("Name").fill(name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("progressbar")).to_be_visible()
        page = app.show("logs")
        page = app.show("models")
        transfer = page.locator(f'[data-transfer="{name}"]')
        expect(transfer).to_contain_text("Under way")
        transfer.get_by_role("button", name="Cancel").click()
        expect(transfer).to_contain_text("Cancelled")
        transfer.get_by_role("button", name=re.compile("Resume|Try again")).click()
        expect(transfer).to_contain_text("Done")
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    daemon.must("rm", name)


def test_a_model_is_found_and_pulled(app: Window, daemon: Runner) -> None:
    """It says whether it fits before, and is here after; what its publisher wrote is only text."""
    page = app.show("models")
    page.get_by_role("tab", name="Find more").click()
    page.get_by_label("Search models").fill("found")
    found = page.get_by_role("listitem").filter(has_text="ai/found")
    expect(found).to_contain_text("a <b>model</b> to be found")
    expect(found.get_by_text("fits", exact=True)).to_be_visible()
    found.get_by_role("button", name="Pull").click()
    expect(found.get_by_text("here", exact=True)).to_be_visible()
    daemon.must("rm", "ai/found")


def test_a_file_becomes_a_model_which_is_tagged_configured_loaded_and_deleted(
    app: Window, daemon: Runner, tmp_path: Path
) -> None:
    """All of it by hand; what would not fit is said before it is saved."""
    path = tiny_gguf(tmp_path / "mine.gguf", **{"general.name": "mine"})
    page = app.show("models")
    page.get_by_role("button", name="Package").click()
    page.get_by_label("GGUF file").set_input_files(path)
    page.locator("form#package").evaluate("form => form.requestSubmit()")
    page.get_by_role("link", name="local/mine", exact=True).click()
    detail = page.get_by_role("region", name="Details of local/mine")
    expect(detail).to_contain_text("local/mine is not loaded")

    detail.get_by_role("button", name="Tag").click()
    page.get_by_role("textbox", name="Name").fill("local/mine:v2")
    page.keyboard.press("Enter")
    expect(page.get_by_text("It is called local/mine:v2 too")).to_be_visible()
    detail.get_by_label("Flags of the engine").fill("--no-such-flag")
    expect(detail.locator(".verdict")).to_contain_text("--no-such-flag")
    expect(detail.get_by_role("button", name="Save")).to_be_disabled()
    detail.get_by_label("Flags of the engine").fill("--temp 0.5")
    detail.get_by_label("Context size").fill("2048")
    detail.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved; it applies")).to_be_visible()
    detail.get_by_role("button", name="Load").click()
    expect(page.get_by_text("local/mine is loaded", exact=True)).to_be_visible()
    detail.get_by_role("button", name="Unload").click()
    expect(page.get_by_text("local/mine is unloaded")).to_be_visible()
    expect(detail).to_contain_text("on command")
    configured = json.loads(daemon.must("configure", "show", "--json", "local/mine"))
    for name in ("local/mine", "local/mine:v2"):
        page = app.show(f"models/{name}")
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(page.get_by_text(re.compile("is deleted|deleted"))).to_be_visible()

    assert "2048" in json.dumps(configured)
    assert "local/mine" not in daemon.must("list")


def test_settings_of_a_model_can_be_changed_once_they_are_known(app: Window) -> None:
    """What is typed before would be written over by what is in force."""
    held: list[Route] = []
    released = False

    def hold(route: Route) -> None:
        if released:
            route.continue_()
        else:
            held.append(route)

    app.page.route("**/engines/_configure?*", hold)
    page = app.show("models/ai/tiny")
    flags = page.get_by_label("Flags of the engine")
    expect(flags).to_be_disabled()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()

    while not held:
        page.wait_for_timeout(10)
    released = True
    for route in held:
        route.continue_()
    flags.fill("--temp 0.5")
    expect(page.locator(".verdict")).to_contain_text("memory")
    expect(flags).to_have_value("--temp 0.5")


def test_what_is_typed_in_the_settings_stays_when_the_models_are_looked_at_again(app: Window) -> None:
    page = app.show("models/ai/tiny")
    flags = page.get_by_label("Flags of the engine")
    flags.fill("--temp 0.5")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "_configure" in request.url else None)
    # When the page asks for the second time, it has long shown what the first answer changed.
    for _ in range(2):
        with page.expect_response("**/models?brief=true"):
            pass

    expect(flags).to_be_enabled()
    expect(flags).to_have_value("--temp 0.5")
    assert asked == []


def test_two_tabs_show_the_same(app: Window) -> None:
    """What is said in one appears in the other, while both go on writing."""
    page, other = app.show("chat?model=ai/tiny"), app.another()
    _say(page, "said in the first")
    _answered(page, "said in the first")
    other.goto(page.url)
    expect(other.locator("article.assistant")).to_contain_text("said in the first")
    _say(other, "and in the second")
    _answered(page, "and in the second")
    other.get_by_role("button", name="Delete said in the first").click()
    other.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(page.get_by_text("Chats are kept in this browser")).to_be_visible()


def test_a_daemon_that_restarts_under_the_page_is_found_again(browser: Browser, tmp_path: Path) -> None:
    """The page says that it is gone and what to do, keeps what was written, and goes on by itself."""
    program = fake_llama_server(tmp_path / "engine")
    with (
        running(tmp_path / "home", LLAMA_SERVER_PATH=str(program)) as runner,
        window(browser, runner.url) as opened,
    ):
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
        page, port = opened.show("chat?model=ai/tiny"), runner.port
        _say(page, "before the end")
        _answered(page, "before the end")
        runner.stop()
        expect(page.get_by_role("alert")).to_contain_text("The daemon does not answer")
        _say(page, "into the void")
        expect(page.locator("article.assistant").last).to_contain_text("the daemon does not answer")
        runner.start("--port", str(port))
        expect(page.get_by_text("The daemon does not answer. Start it")).to_have_count(0)
        page.get_by_role("button", name="Regenerate").last.click()
        _answered(page, "into the void")

        expect(page.locator("article.user").first).to_contain_text("before the end")


def _post(daemon: Runner, body: dict[str, object]) -> None:
    """Ask for a chat answer, whatever comes of it."""
    connection = HTTPConnection("127.0.0.1", daemon.port)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    connection.getresponse().read()
    connection.close()


LONG = (
    "short",
    "word " * 200,
    "x" * 1234,
    "日本語の行 " * 80,
    "\U0001f600 face" * 90,
    "spaces" + " " * 300 + "between",
    "." * 700,
    "a,b;c:(d)[e]" * 60,
    "{" + ", ".join(f'"name{n}":\t{n}' for n in range(90)) + "}",
)


# The lines of the log that are not whole in their row, once a part of it has been scrolled to and drawn.
_CUT = """
async (frame, part) => {
  const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))
  await drawn()
  frame.scrollTop = part * frame.scrollHeight
  await drawn()
  const lines = [...frame.querySelectorAll('.line')]
  const isCut = line => {
    const text = line.querySelector('.text')
    return line.offsetHeight > line.parentElement.offsetHeight + 1 || text.scrollWidth > text.clientWidth + 1
  }
  return lines.length > 3 ? lines.filter(isCut).map(line => line.textContent) : ['nothing there']
}
"""


def test_no_line_of_the_log_is_cut_off_and_its_end_stays_in_view(browser: Browser, tmp_path: Path) -> None:
    """However wide the page is, and whatever the line is made of."""
    logs = tmp_path / "home/.local/state/modelrunner/logs"
    logs.mkdir(parents=True)
    line = '[2026-01-02T03:04:05.{:09d}Z] level=INFO logger=bench msg="{}"\n'
    (logs / "inference.log").write_text("".join(line.format(n, LONG[n % len(LONG)]) for n in range(700)))
    with running(tmp_path / "home") as daemon, window(browser, daemon.url) as opened:
        page = opened.show("logs")
        frame = page.get_by_role("region", name="Lines of the log")
        expect(page.locator(".line").last).to_be_visible()
        for width, font in ((1360, 16), (800, 17), (420, 16), (1360, 32)):
            page.set_viewport_size({"width": width, "height": 700})
            page.evaluate("size => { document.documentElement.style.fontSize = `${size}px` }", font)
            for part in (0, 0.3, 0.6):
                cut = frame.evaluate(_CUT, part)
                assert cut == [], (width, font)
        page.set_viewport_size({"width": 1360, "height": 700})
        frame.evaluate("frame => { frame.scrollTop = frame.scrollHeight }")
        daemon.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/late")
        expect(page.locator(".line").last).to_contain_text("model loaded from archive")
        expect(page.locator(".line").last).to_be_in_viewport(ratio=0.9)
        assert opened.complaints == []


def test_requests_that_come_in_move_nothing_that_is_looked_at(browser: Browser, tmp_path: Path) -> None:
    """They go before the first row; at the top they are seen at once."""
    program = fake_llama_server(tmp_path / "engine")
    with (
        running(tmp_path / "home", LLAMA_SERVER_PATH=str(program)) as daemon,
        window(browser, daemon.url) as opened,
    ):
        daemon.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")

        def ask(count: int) -> None:
            for _ in range(count):
                _post(daemon, {"model": "ai/tiny", "messages": [{"role": "user", "content": "hello"}]})

        ask(80)
        page = opened.show("requests")
        expect(page.get_by_text("80 requests")).to_be_visible()
        page.locator(".rows .frame").evaluate("frame => { frame.scrollTop = 1000 }")
        row = page.get_by_role("row", name="Request 55,")
        row.focus()
        before = row.bounding_box()
        ask(5)
        expect(page.get_by_text("85 requests")).to_be_visible()
        assert row.bounding_box() == before
        expect(row).to_be_focused()
        page.locator(".rows .frame").evaluate("frame => { frame.scrollTop = 3000 }")
        expect(page.get_by_role("row", name="Request 10,")).to_be_in_viewport()
        expect(row).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("row", name="Request 54,")).to_be_focused()
        expect(page.get_by_role("row", name="Request 54,")).to_be_in_viewport()

        page.keyboard.press("Home")
        first = page.get_by_role("row", name="Request 85,")
        expect(first).to_be_focused()
        ask(1)
        expect(page.get_by_role("row", name="Request 86,")).to_be_in_viewport()
        expect(first).to_be_focused()
        assert opened.complaints == []


def test_the_keyboard_is_enough(app: Window) -> None:
    """Pages by letters, rows by arrows, a dialog that gives the focus back."""
    page = app.show("models")
    expect(page.get_by_role("link", name="ai/tiny", exact=True)).to_be_visible()
    for key, heading in (
        ("r", "Requests"),
        ("l", "Logs"),
        ("a", "Activity"),
        ("s", "Settings"),
        ("m", "Models"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).not_to_be_visible()
    names = page.locator("a.name")
    second = names.nth(1).inner_text()
    names.first.focus()
    page.keyboard.press("ArrowDown")
    expect(names.nth(1)).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("region", name=f"Details of {second}")).to_be_visible()


def test_escape_leads_out_of_the_message_to_the_keys(app: Window) -> None:
    """The message has the focus from the start, and takes what is typed."""
    page = app.show()
    message = page.get_by_role("textbox", name="Message")
    expect(message).to_be_focused()
    page.keyboard.press("?")
    expect(message).to_have_value("?")

    page.keyboard.press("Escape")
    page.keyboard.press("?")

    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    expect(message).to_have_value("?")


def test_an_empty_store_says_what_to_do(browser: Browser, fake: Runner) -> None:
    """Whoever opens the app first is led from nothing to the name of a model."""
    with window(browser, fake.url) as opened:
        page = opened.show()
        page.get_by_role("link", name="Pull a model").click()

        expect(page.get_by_role("dialog", name="Pull a model").get_by_label("Name")).to_have_value(
            "ai/smollm2"
        )


AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = ("chat", "models", "models/ai/tiny", "requests", "activity", "logs", "settings")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(browser: Browser, daemon: Runner, scheme: str) -> None:
    """No page has a finding of axe that is serious or critical, colours included, in light or in dark."""
    with window(browser, daemon.url, color_scheme=scheme, reduced_motion="reduce") as opened:
        page = opened.show("chat?model=ai/tiny")
        _say(page, "a **question** with `code`")
        _answered(page, "question")
        last = page.url.partition("/ui/")[2]
        findings = {}
        for path in (*PAGES, last, "requests/1"):
            opened.show(path)
            page.wait_for_load_state("load")
            expect(page.locator("h1")).to_be_visible()
            page.locator(".state .dot.up").wait_for()
            # Past the policy of the page, which would let no foreign script in.
            page.evaluate(AXE.read_text())
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            findings[path] = [
                (each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"][:300])
                for each in found["violations"]
                if each["impact"] in {"serious", "critical"}
            ]

    assert {path: found for path, found in findings.items() if found} == {}


def test_a_narrow_screen_has_everything(browser: Browser, daemon: Runner) -> None:
    """No page is wider than a telephone, and its list of pages is at hand."""
    with window(browser, daemon.url, viewport={"width": 375, "height": 720}) as opened:
        wide = {}
        for path in PAGES:
            page = opened.show(path)
            expect(page.locator("h1").first).to_be_attached()
            expect(
                page.get_by_role("navigation").get_by_role("link", name="Chat", exact=True)
            ).to_be_visible()
            wide[path] = page.evaluate("document.documentElement.scrollWidth")

    assert {path: width for path, width in wide.items() if width > 375} == {}


def test_the_last_message_is_edited_from_below_and_kept_while_it_is_out_of_sight(app: Window) -> None:
    """Only those turns are in the page that are seen; one that is edited stays whatever is looked at."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "word " * 2000)
    _answered(page, "word")
    page.reload()
    message = page.get_by_label("Message", exact=True)
    edit = page.get_by_label("Edit your message")
    expect(page.locator("article.assistant")).to_be_in_viewport()
    expect(page.locator("article.user")).to_have_count(0)

    message.press("ArrowUp")
    expect(edit).to_be_focused()
    expect(edit).to_be_in_viewport()
    edit.fill("something else")
    message.focus()
    page.get_by_role("log").locator("> div").evaluate("frame => { frame.scrollTop = frame.scrollHeight }")
    expect(edit).not_to_be_in_viewport()
    expect(message).to_be_focused()
    message.press("ArrowUp")
    expect(edit).to_be_focused()
    expect(edit).to_be_in_viewport()
    expect(edit).to_have_value("something else")
    edit.press("Enter")

    _answered(page, "something else")
    expect(edit).to_have_count(0)


def test_an_edit_waits_for_the_answer_that_is_being_written(app: Window) -> None:
    """Enter does no more than the button, which is disabled meanwhile; what was typed stays."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "as it was")
    _answered(page, "as it was")
    page.get_by_role("button", name="Edit and send again").click()
    edit = page.get_by_label("Edit your message")
    edit.fill("as it is to be")
    _say(page, "word " * 2000)
    expect(page.locator("article.assistant").last).to_contain_text("word word word")

    edit.press("Enter")
    expect(edit).to_have_value("as it is to be")
    page.get_by_role("button", name="Stop").click()
    edit.press("Enter")

    _answered(page, "as it is to be")


def _answers(page: Page, text: str) -> None:
    """Have every request that the page makes of a model answered with a text."""
    chunk = json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]})
    body = f"data: {chunk}\n\ndata: [DONE]\n\n"
    page.route(
        "**/engines/v1/chat/completions",
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )


def test_formulas_are_drawn_once_and_what_is_none_is_shown_as_written(app: Window) -> None:
    """Neither needs what the page's policy forbids."""
    page = app.show("chat?model=ai/tiny")
    _answers(page, r"$\frac{1$ and $\tag{1} x$ are none, $\boxed{42}$ and $\fcolorbox{red}{white}{y}$ are.")
    _say(page, "some formulas")
    formulas = page.locator(".math")

    expect(formulas).to_have_count(4)
    expect(formulas.locator("annotation")).to_have_text([r"\boxed{42}", r"\fcolorbox{red}{white}{y}"])
    assert formulas.all_text_contents()[:2] == [r"\frac{1", r"\tag{1} x"]
    for framed in ("menclose", "mpadded"):
        expect(formulas.locator(framed)).to_have_css("border-style", "solid")


def test_words_in_a_table_stay_whole_on_a_narrow_screen(app: Window) -> None:
    """What has no room is scrolled to."""
    page = app.show("chat?model=ai/tiny")
    page.set_viewport_size({"width": 390, "height": 800})
    words = ("Extraordinarily", "Quantization", "Incomprehensible", "Notwithstanding")
    row = "| " + " | ".join(words) + " |\n"
    _answers(page, row + "|---" * 4 + "|\n" + row)
    _say(page, "a table")

    expect(page.locator("td")).to_have_count(4)
    lines = """cell => {
        const range = document.createRange()
        range.selectNodeContents(cell)
        return new Set([...range.getClientRects()].map(rect => rect.top)).size
    }"""
    assert {cell.evaluate(lines) for cell in page.locator("th, td").all()} == {1}
    assert page.locator(".wide").evaluate("frame => frame.scrollWidth > frame.clientWidth")


def test_what_can_be_done_with_old_turns_is_hidden_while_an_answer_is_written(app: Window) -> None:
    """Only the turn under the mouse and the last ones show it."""
    page = app.show("chat?model=ai/tiny")
    _say(page, "the first")
    _answered(page, "the first")
    _say(page, "word " * 60)
    expect(page.locator("article.assistant").last).to_contain_text("word")
    edits = page.get_by_role("button", name="Edit and send again")
    groups = page.locator("article.user .acts")
    page.mouse.move(0, 0)

    expect(groups.first).to_have_css("opacity", "0")
    expect(groups.last).to_have_css("opacity", "1")
    expect(edits.first).to_be_disabled()
    page.get_by_role("button", name="Stop").click()


def test_what_is_not_sent_yet_waits_in_its_chat(app: Window, tmp_path: Path) -> None:
    """The list of pages leads back to the chat that was left; each has what was written in it, and files."""
    (tmp_path / "notes.txt").write_text("a note")
    page = app.show("chat?model=ai/tiny")
    message = page.get_by_label("Message", exact=True)
    message.fill("for a new one")
    page.get_by_role("link", name="Models").click()
    page.get_by_role("link", name="Chat", exact=True).click()
    expect(message).to_have_value("for a new one")
    message.press("Enter")
    _answered(page, "for a new one")
    expect(message).to_have_value("")

    message.fill("for this one")
    page.set_input_files("input[type=file]", tmp_path / "notes.txt")
    expect(page.get_by_role("list", name="Files to send")).to_contain_text("notes.txt")
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(message).to_have_value("")
    page.get_by_role("link", name="for a new one").click()
    expect(message).to_have_value("for this one")
    page.get_by_role("link", name="Models").click()
    page.get_by_role("link", name="Chat", exact=True).click()

    expect(page.locator("article.assistant")).to_contain_text("for a new one")
    expect(message).to_have_value("for this one")
    expect(page.get_by_role("list", name="Files to send")).to_contain_text("notes.txt")


def test_an_answer_that_another_tab_writes_is_not_called_unfinished(app: Window) -> None:
    """It grows in both, and is whole in both."""
    page, other = app.show("chat?model=ai/tiny"), app.another()
    _say(page, "before")
    _answered(page, "before")
    other.goto(page.url)
    expect(other.locator("article.assistant")).to_contain_text("before")
    _say(page, "word " * 400)

    answer = other.locator("article.assistant").last
    expect(answer).to_contain_text("word word")
    expect(answer).to_contain_text("being written in another tab")
    expect(answer).not_to_contain_text("unfinished")
    page.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("stopped")
    expect(answer).not_to_contain_text("being written")


def test_two_models_can_be_chosen_before_the_first_message(app: Window) -> None:
    """Both answer it, and of both it is said how much of the context is in use."""
    page = app.show("chat?model=ai/tiny")
    page.get_by_role("button", name="Two models side by side").click()
    expect(page.get_by_label("Second model")).to_have_value(re.compile("ai/other"))
    _say(page, "the first for both")

    for name in ("ai/tiny", "ai/other"):
        answers = page.get_by_role("log", name=name).locator("article.assistant")
        expect(answers).to_contain_text("the first for both")
        expect(page.get_by_role("meter", name=f"Context of {name} in use")).to_be_visible()
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.get_by_label("Second model")).to_have_count(0)

"""The pages of the web app about models, requests and the daemon, in a browser with the scripted engine."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Route, expect

from modelrunner.testing.browser import Window, window
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Runner]:
    """A daemon with one model."""
    program = fake_llama_server(tmp_path / "engine")
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program)) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
        yield runner


@pytest.fixture
def app(browser: Browser, daemon: Runner) -> Iterator[Window]:
    """A window without any history; nothing may be forbidden, thrown, or asked of anybody else."""
    with window(browser, daemon.url) as opened:
        yield opened
        assert opened.complaints == []


def _restart(daemon: Runner) -> None:
    port = daemon.port
    daemon.stop()
    daemon.start("--port", str(port))


@contextmanager
def _slow_answer(daemon: Runner) -> Iterator[Future[str]]:
    """Have the model answer for five seconds, begun when the block begins, ended when it ends."""
    body = {"model": "ai/tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    connection = HTTPConnection("127.0.0.1", daemon.port)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({**body, "fake": {"tokens": 40, "tokens_per_second": 8}})
    )
    reply = connection.getresponse()
    reply.readline()
    with ThreadPoolExecutor() as pool:
        yield pool.submit(lambda: reply.read().decode().strip())
    connection.close()


def test_events_of_both_lives_of_a_daemon_are_shown(app: Window, daemon: Runner) -> None:
    """The numbers of events begin at 1 again when it is restarted."""
    page = app.show("activity")
    events = page.get_by_role("list", name="Events").get_by_role("listitem")
    daemon.must("run", "ai/tiny", "hello")
    expect(events.filter(has_text="ready")).to_have_count(1)

    _restart(daemon)
    expect(page.get_by_role("alert")).to_have_count(0)
    daemon.must("run", "ai/tiny", "hello")

    expect(events.filter(has_text="ready")).to_have_count(2)


def test_the_log_goes_on_where_it_was_when_a_daemon_is_restarted(app: Window, daemon: Runner) -> None:
    """What it said as it ended and as it began is there, and nothing twice."""
    page = app.show("logs")
    page.get_by_label("Level").select_option("debug")
    lines, count = page.locator(".line"), page.locator(".page-foot")
    packaged = lines.filter(has_text="model loaded from archive")
    expect(packaged).to_have_count(1)

    _restart(daemon)
    daemon.must("package", "--gguf", daemon.home.parent / "tiny.gguf", "ai/late")
    expect(packaged).to_have_count(2)
    shown = count.inner_text()
    page.reload()
    page.get_by_label("Level").select_option("debug")

    expect(packaged).to_have_count(2)
    expect(count).to_have_text(shown)


def test_a_model_that_is_named_in_short_is_shown_and_one_that_is_not_here_can_be_pulled(app: Window) -> None:
    """A request has the name that somebody asked by."""
    page = app.show("models/tiny")
    expect(page.get_by_role("region", name="Details of ai/tiny")).to_be_visible()

    page = app.show("models/localhost:5000/team/gone")
    aside = page.get_by_role("complementary", name="Model")
    expect(aside).to_contain_text("localhost:5000/team/gone is not on this machine")
    aside.get_by_role("button", name="Pull").click()

    expect(page.get_by_role("dialog").get_by_label("Name")).to_have_value("localhost:5000/team/gone")


def test_a_model_in_use_is_deleted_once_that_was_meant(app: Window, daemon: Runner) -> None:
    """The dialog says so, and what becomes of its requests; the answer comes to its end."""
    with _slow_answer(daemon) as answer:
        page = app.show("models/ai/tiny")
        expect(page.get_by_text("1 in flight")).to_be_visible()
        page.get_by_role("button", name="Delete").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("It is in use: 1 request goes on to the end")
        dialog.get_by_role("button", name="Delete anyway").click()
        expect(page.get_by_text("ai/tiny is deleted")).to_be_visible()

    assert answer.result().endswith("data: [DONE]")


@pytest.mark.parametrize(
    ("loaded", "words"),
    [(True, "Saved; it applies at once"), (False, "Saved; it applies when the model is loaded next")],
)
def test_what_is_saved_of_a_model_holds_when_it_is_said_to(
    app: Window, daemon: Runner, loaded: bool, words: str
) -> None:
    """A model that is loaded, and idle, is loaded again where it has to be."""
    if loaded:
        daemon.must("run", "ai/tiny", "hello")
    page = app.show("models/ai/tiny")
    detail = page.get_by_role("region", name="Details of ai/tiny")
    expect(detail.get_by_role("button", name="Unload" if loaded else "Load", exact=True)).to_be_visible()
    detail.get_by_label("Flags of the engine").fill("--temp 0.5")
    detail.get_by_role("button", name="Save").click()

    expect(page.get_by_text(words)).to_be_visible()


def test_a_model_without_a_name_does_not_burst_its_plot(app: Window, daemon: Runner) -> None:
    """A model that was deleted has only its digest left, of which twelve digits are enough."""
    digest = "0123456789ab" + "c" * 52
    series = {"at": ["2026-01-01T00:00:00Z"] * 2, "step": 1, "memory": {f"sha256:{digest}": [1e6, 2e6]}}
    names = ("requests", "failed", "completion_tokens", "tokens_per_second", "first_token_p50", "queue")
    more = ("first_token_p90", "seconds_p50", "seconds_p90", "seconds_p99")
    answer = json.dumps({**series, "models": {}, **{name: [0, 0] for name in (*names, *more)}})
    app.page.route("**/activity?*", lambda route: route.fulfill(body=answer, content_type="application/json"))
    page = app.show("activity")
    plot = page.get_by_role("figure", name="Memory by model")

    expect(plot.get_by_role("listitem")).to_have_text("0123456789ab 2.00 MB")


def test_what_stands_between_backticks_is_set_as_a_name(app: Window) -> None:
    """In what the daemon says, wherever it is shown."""
    page = app.show("models")
    page.get_by_role("button", name="Pull", exact=True).first.click()
    page.get_by_label("Name").fill("no such name")
    page.keyboard.press("Enter")
    expect(page.locator(".toast code").first).to_have_text("ai/no such name:latest")

    page = app.show("requests/999")
    expect(page.get_by_role("alert").locator("code")).to_have_text("999")


def test_a_request_is_forgotten_once_that_was_meant(app: Window, daemon: Runner) -> None:
    """It cannot be had back."""
    daemon.must("run", "ai/tiny", "hello")
    page = app.show("requests/1")
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(page.get_by_role("row", name="Request 1,")).to_be_visible()
    page.get_by_role("button", name="Forget").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()

    expect(page.get_by_text("No request was recorded yet")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "group", "names"),
    [
        ("models", "Which models", ["On this machine", "Find more"]),
        ("settings", "Tools", ["OpenAI", "Anthropic", "Ollama", "curl", "JavaScript", "dmr"]),
        ("settings", "Colours", ["As the system", "Light", "Dark"]),
    ],
)
def test_arrows_move_along_tabs_and_choices(app: Window, path: str, group: str, names: list[str]) -> None:
    """What has the focus is chosen; past the last comes the first."""
    page = app.show(path)
    role: Literal["radio", "tab"] = "radio" if group == "Colours" else "tab"
    app.page.route("**/search?*", lambda route: route.fulfill(json={"models": [], "warnings": []}))
    within = page.get_by_label(group, exact=True)
    within.get_by_role(role, name=names[0]).click()
    for key, name in (("ArrowRight", names[1]), ("ArrowLeft", names[0]), ("ArrowLeft", names[-1])):
        page.keyboard.press(key)
        chosen = within.get_by_role(role, name=name)
        expect(chosen).to_be_focused()
        expect(chosen).to_have_attribute("aria-checked" if role == "radio" else "aria-selected", "true")
        if role == "tab":
            expect(page.get_by_role("tabpanel", name=name)).to_be_visible()

    expect(within.locator('[tabindex="0"]')).to_have_count(1)


def test_a_short_word_about_a_model_covers_nothing_of_its_settings(browser: Browser, daemon: Runner) -> None:
    """They are at the right, it is at the left."""
    with window(browser, daemon.url, viewport={"width": 1280, "height": 800}) as opened:
        page = opened.show("models/ai/tiny")
        page.get_by_role("button", name="Pin", exact=True).click()
        toast = page.locator(".toast").bounding_box()
        details = page.get_by_role("complementary", name="Model").bounding_box()

        assert toast
        assert details
        assert toast["x"] + toast["width"] <= details["x"]


def test_requests_are_compared_in_words_and_units(app: Window, daemon: Runner) -> None:
    """As in the list: who asked, and how long it took; of thoughts nothing is said where there are none."""
    daemon.must("run", "ai/tiny", "hello")
    page = app.show("requests/1")
    page.evaluate(
        """() => fetch('/v1/chat/completions', {method: 'POST', body: JSON.stringify({
            model: 'ai/tiny', messages: [{role: 'user', content: 'hello'}]})}).then(reply => reply.text())"""
    )
    page.get_by_role("button", name="Compare…").click()
    page.get_by_role("row", name="Request 2,").click()
    page.get_by_role("button", name="Compare with 1").click()
    dialog = page.get_by_role("dialog")

    expect(dialog.get_by_role("row", name="caller")).to_contain_text("browser")
    expect(dialog.get_by_role("row", name="seconds")).to_contain_text(re.compile(r"\d m?s"))
    expect(dialog.get_by_role("heading", name="Answer")).to_be_visible()
    expect(dialog.get_by_role("heading", name="Thoughts")).to_have_count(0)


def test_escape_closes_the_list_of_chats_on_a_narrow_screen(browser: Browser, daemon: Runner) -> None:
    """From the button that opened it too, which still has the focus."""
    with window(browser, daemon.url, viewport={"width": 390, "height": 800}) as opened:
        page = opened.show()
        chats = page.get_by_role("button", name="Chats", exact=True)
        chats.click()
        expect(chats).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Escape")

        expect(chats).to_have_attribute("aria-expanded", "false")


def test_a_context_that_fits_is_taken_with_a_click(app: Window) -> None:
    """The daemon's hint is a command, which nobody can give here."""

    def weigh(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        asked = json.loads(route.request.post_data or "")["context-size"]
        hint = "a context of 4864 tokens would fit: `dmr configure --context-size 4864 MODEL`"
        amounts = {"need": {"ram": 9 * 10**9}, "capacity": {"ram": 8 * 10**9}, "free": {}, "parts": {}}
        fits = asked == 4864
        route.fulfill(
            json={**amounts, "fits": fits, "hint": None if fits else hint, "context_size": asked or 8192}
        )

    app.page.route("**/engines/explain*", weigh)
    page = app.show("models/ai/tiny")
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("Does not fit")
    verdict.get_by_role("button", name="Take 4,864 tokens").click()

    expect(verdict).to_contain_text("Fits: ")
    expect(page.get_by_label("Context size")).to_have_value("4864")

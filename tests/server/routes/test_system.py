"""`/`, `/version` and `/logs`, and the rules that hold for every path."""

import contextlib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner import __version__
from modelrunner.telemetry.logs import SERVICE_LOG

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

CHAT = "/engines/v1/chat/completions"


@pytest.mark.parametrize("path", ["/", "/status", "//", "/status/"])
async def test_the_greeting_has_both_phrases(daemon: "Daemon", path: str) -> None:
    """Clients look for one or the other."""
    answer = await daemon.ask("GET", path)

    assert 200 == answer.status
    assert "Docker Model Runner is running" in answer.text
    assert "The service is running" in answer.text


async def test_the_version_tells_whose_port_it_is(daemon: "Daemon") -> None:
    """With the number of the process."""
    assert {"version": __version__, "pid": os.getpid()} == (await daemon.ask("GET", "/version")).json


@pytest.mark.parametrize(
    "path", ["/", "/status", "/engines/status", "/v1/models", "/engines/v1/models", "/models"]
)
async def test_probes_answer_without_a_redirect(daemon: "Daemon", path: str) -> None:
    """GET and HEAD, 200, at exactly this path."""
    assert 200 == (await daemon.ask("GET", path, allow_redirects=False)).status
    assert (200, "") == ((head := await daemon.ask("HEAD", path)).status, head.text)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("PUT", "/models"),
        ("GET", "/models/create/x/../y"),
        ("POST", "/engines/ps"),
    ],
)
async def test_other_paths_and_native_methods_are_not_found(daemon: "Daemon", method: str, path: str) -> None:
    """404, never 405."""
    assert 404 == (await daemon.ask(method, path)).status


@pytest.mark.parametrize(
    ("method", "path", "allowed", "read"),
    [
        ("GET", CHAT, "POST", lambda body: body["error"]["code"]),
        ("PUT", "/v1/models", "GET, HEAD", lambda body: body["error"]["code"]),
        ("PUT", "/v1/responses", "POST", lambda body: body["error"]["code"]),
        ("PUT", "/responses/resp_1", "DELETE, GET, HEAD", lambda body: body["error"]["code"]),
        ("GET", "/api/chat", "POST", lambda body: body["code"]),
        ("POST", "/api/tags", "GET, HEAD", lambda body: body["code"]),
        ("DELETE", "/api/blobs/x", "GET, HEAD, POST", lambda body: body["code"]),
        ("GET", "/anthropic/v1/messages", "POST", lambda body: body["type"] == "error" and "wrong_method"),
    ],
)
async def test_a_wrong_method_is_told_in_the_dialect(
    daemon: "Daemon", method: str, path: str, allowed: str, read: Callable[[Any], object]
) -> None:
    """405, with those that there are."""
    answer = await daemon.ask(method, path)

    assert (405, allowed, "wrong_method") == (answer.status, answer.headers["allow"], read(answer.json))


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/api/nothing", lambda body: body["error"]),
        ("/anthropic/v1/nothing", lambda body: body["error"]["message"]),
        ("/v1/nothing", lambda body: body["error"]["message"]),
    ],
)
async def test_an_unknown_path_is_told_in_the_dialect(
    daemon: "Daemon", path: str, read: Callable[[Any], str]
) -> None:
    """404."""
    answer = await daemon.ask("GET", path)

    assert 404 == answer.status
    assert f"nothing at `GET {path}`" in read(answer.json)


@pytest.mark.parametrize(
    "path", ["/", "/version", "/logs", "/models", "/v1/models", "/engines/ps", CHAT, "/nothing"]
)
async def test_foreign_origins_and_hosts_are_refused_everywhere(daemon: "Daemon", path: str) -> None:
    """No path is left out, and a preflight does not help."""
    for method in ("GET", "OPTIONS"):
        foreign = await daemon.ask(method, path, headers={"Origin": "https://evil.example"})
        rebound = await daemon.ask(method, path, headers={"Host": "evil.example:80"})

        assert (403, 403) == (foreign.status, rebound.status)
        assert "access-control-allow-origin" not in foreign.headers


async def test_a_local_page_may_ask_everywhere(daemon: "Daemon") -> None:
    """Preflights are answered for any path, known or not."""
    headers = {"Origin": "http://localhost:5173", "Access-Control-Request-Headers": "content-type"}
    for path in ("/models", CHAT, "/nothing"):
        answer = await daemon.ask("OPTIONS", path, headers=headers)

        assert (204, "content-type") == (answer.status, answer.headers["access-control-allow-headers"])


async def test_the_log_has_service_and_engine_lines(tiny: "Daemon") -> None:
    """Merged, as text; without the engines on demand."""
    await tiny.ask("POST", CHAT, json=tiny.chat(fake={"tokens_per_second": 1000}))
    tiny.services.logs.service_line("level=INFO msg=here")
    everything = await tiny.ask("GET", "/logs")
    service = await tiny.ask("GET", "/logs?no-engines=true")

    assert (200, "text/plain") == (everything.status, everything.headers["content-type"])
    assert "generation started" in everything.text
    assert "msg=here" in everything.text
    assert "generation started" not in service.text
    assert "msg=here" in service.text


async def test_a_model_s_log_is_what_engines_said_about_it(tiny: "Daemon") -> None:
    """By any of its names; nothing of other models, nor of the daemon."""
    await tiny.add("docker.io/ai/other:latest", title="other")
    for name in ("ai/tiny", "ai/other"):
        await tiny.ask("POST", CHAT, json=tiny.chat(name, fake={"tokens_per_second": 1000}))
    tiny.services.logs.service_line("level=INFO msg=here")
    answer = await tiny.ask("GET", "/logs?model=tiny")
    lines = answer.text.splitlines()
    key = next(resident.key for resident in tiny.residents if "other" not in str(resident.key))

    assert 200 == answer.status
    assert [line for line in lines if "generation started" in line]
    assert 1 == len({line.split(" ")[1] for line in lines})
    assert lines[0].split(" ")[1].startswith(f"{key.engine}/")


async def test_the_log_can_be_had_from_a_level_upwards_and_from_its_end(tiny: "Daemon") -> None:
    """What is less grave, or longer ago, is left out; a level that is none is an error."""
    for level in ("INFO", "ERROR", "WARNING", "INFO"):
        tiny.services.logs.service_line(f'level={level} logger=test msg="{level.lower()} here"')

    grave = (await tiny.ask("GET", "/logs?level=warning&no-engines=true")).text.splitlines()
    last = (await tiny.ask("GET", "/logs?level=warning&tail=1")).text

    assert ['msg="error here"', 'msg="warning here"'] == [line[line.index("msg=") :] for line in grave]
    assert last.endswith('msg="warning here"\n')
    for wrong in ("level=loud", "tail=-1", "tail=x"):
        assert 400 == (await tiny.ask("GET", f"/logs?{wrong}")).status


async def test_the_log_comes_as_events_that_are_taken_apart(tiny: "Daemon") -> None:
    """With the model that an engine speaks of, by name; what comes later too."""
    await tiny.ask("POST", CHAT, json=tiny.chat(fake={"tokens_per_second": 1000}))
    tiny.services.logs.service_line('level=ERROR logger=test msg="it \\"broke\\" <b>"')
    url = f"{tiny.url}/logs?follow=true"
    lines: list[dict[str, str]] = []
    async with tiny.session.get(url, headers={"Accept": "text/event-stream"}) as reply:
        while not any(line.get("text") == "later" for line in lines):
            raw = (await reply.content.readline()).decode()
            if raw.startswith("data: "):
                lines.append(json.loads(raw[6:]))
            elif raw.startswith(":"):  # all that there was
                tiny.services.logs.service_line('level=INFO logger=test msg="later"')

    assert {"source": "service", "level": "error", "logger": "test", "text": 'it "broke" <b>'} in [
        {name: value for name, value in line.items() if name != "at"} for line in lines
    ]
    engine = next(line for line in lines if "generation started" in line["text"])
    assert ("engine", "ai/tiny:latest", "llama.cpp") == (engine["source"], engine["model"], engine["backend"])


async def test_a_log_of_no_model_is_an_error(tiny: "Daemon") -> None:
    """One that is not here is not found, and one without what engines say is nothing at all."""
    missing = await tiny.ask("GET", "/logs?model=nothing")
    empty = await tiny.ask("GET", "/logs?model=tiny&no-engines=true")
    unloaded = await tiny.ask("GET", "/logs?model=tiny")

    assert (404, 400) == (missing.status, empty.status)
    assert (200, "") == (unloaded.status, unloaded.text)


async def test_the_log_is_followed_until_the_client_leaves(tiny: "Daemon") -> None:
    """Lines come as they are written."""
    tiny.services.logs.service_line("one")
    async with tiny.session.get(f"{tiny.url}/logs?follow=1") as reply:
        assert b"one" in await reply.content.readline()
        tiny.services.logs.service_line("two")
        assert b"two" in await reply.content.readline()


async def test_following_ends_when_the_daemon_stops(daemon: "Daemon") -> None:
    """At once, with a line that says why."""
    daemon.services.logs.service_line("one")
    async with daemon.session.get(f"{daemon.url}/logs?follow=1") as reply:
        await reply.content.readline()
        daemon.server.should_exit = True
        rest = await reply.content.read()

    assert b"[logs error: the daemon is shutting down]" in rest


@pytest.mark.parametrize("name", ["follow", "no-engines"])
async def test_a_bad_boolean_is_named(daemon: "Daemon", name: str) -> None:
    """400, with the parameter and the value."""
    answer = await daemon.ask("GET", f"/logs?{name}=perhaps")

    assert 400 == answer.status
    assert answer.text.startswith(f'invalid {name} parameter: "perhaps" is not a valid boolean')


async def test_a_missing_log_is_not_found(daemon: "Daemon") -> None:
    """Somebody removed the file."""
    for file in daemon.folder.rglob(SERVICE_LOG):
        file.unlink()

    assert 404 == (await daemon.ask("GET", "/logs")).status


async def test_what_nobody_foresaw_is_told_in_brief(
    daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 without a traceback; the next request is served."""

    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    with contextlib.suppress(AttributeError), monkeypatch.context() as patch:
        patch.setattr(daemon.services.store, "disk_usage", fail)
        answer = await daemon.ask("GET", "/engines/df")

    assert 500 == answer.status
    assert answer.text.startswith("internal error: ZeroDivisionError")
    assert "secret detail" not in answer.text
    assert 200 == (await daemon.ask("GET", "/engines/df")).status


async def test_the_settings_are_shown_as_one_would_write_them(make_daemon: "Make") -> None:
    """Durations and sizes are no bare numbers, and lists have commas; no row is a token."""
    daemon = await make_daemon(DMR_KEEP_ALIVE="-1", DMR_LOG_SIZE="3MB", DMR_ORIGINS="https://a.example,*")
    rows = {row["name"]: row for row in (await daemon.ask("GET", "/settings")).json}

    assert rows["keep_alive"]["value"] == "-1"
    assert rows["log_size"]["value"] == "3.00MB"
    assert rows["origins"] == {
        "name": "origins",
        "variable": "DMR_ORIGINS",
        "value": "https://a.example, *",
        "default": "",
        "help": rows["origins"]["help"],
    }
    assert rows["drain"]["value"] == "10s"
    assert not [name for name in rows if "token" in name]

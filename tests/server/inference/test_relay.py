"""The data path, from a client's socket to the engine's and back."""

import asyncio
import gc
import http.client
import json
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import pytest

from modelrunner.errors import RunnerError
from modelrunner.store.store import Store

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

CHAT = "/engines/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/v1/chat/completions", {}),
        ("/engines/v1/chat/completions", {}),
        ("/engines/llama.cpp/v1/chat/completions", {}),
        ("//v1//chat/completions/", {}),
        ("/v1/completions", {"prompt": "hello"}),
        ("/engines/llama.cpp/v1/completions?x=1", {"prompt": "hello"}),
        ("/v1/embeddings", {"input": "hello"}),
        ("/engines/v1/embeddings", {"input": ["hello"]}),
    ],
)
async def test_every_path_leads_to_the_model(tiny: "Daemon", path: str, extra: dict[str, object]) -> None:
    """With and without prefix and engine, and with slashes too many."""
    answer = await tiny.ask("POST", path, json=tiny.chat() | extra)

    assert 200 == answer.status
    assert "ai/tiny" == answer.json["model"]


async def test_an_answer_comes_whole_with_the_engines_type(tiny: "Daemon") -> None:
    """Status, content type and body are the engine's; date and server are ours, once."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(text="hello there"))

    assert "hello there" == answer.json["choices"][0]["message"]["content"]
    assert "application/json; charset=utf-8" == answer.headers["content-type"]
    assert answer.headers["server"].startswith("modelrunner/")


async def test_an_answer_of_the_engine_is_not_judged(tiny: "Daemon") -> None:
    """Its errors pass through as they are."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(fake={"status": 429}))

    assert (429, "refused on purpose") == (answer.status, answer.json["error"]["message"])


async def test_a_stream_arrives_piece_by_piece(tiny: "Daemon") -> None:
    """The first token is here while the engine still generates."""
    async with tiny.stream(text="one two three", fake={"tokens": 1000, "tokens_per_second": 200}) as reply:
        assert "text/event-stream" == reply.headers["content-type"]
        first = await reply.content.readuntil(b"one")
        assert b"[DONE]" not in first
    # Closed here, long before the end.
    assert "aborted by client" in await tiny.engine_says("aborted by client")


async def test_a_stream_ends_as_the_engine_ends_it(tiny: "Daemon") -> None:
    """All events are passed on, and nothing is added."""
    async with tiny.stream(text="one two") as reply:
        text = (await reply.read()).decode()

    events = [line for line in text.split("\n\n") if line]
    assert "data: [DONE]" == events[-1]
    words = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events[:-1]]
    assert "one two" == "".join(word.get("content") or "" for word in words)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/engines/v1/completions"])
async def test_an_engines_error_in_a_stream_is_openais(make_daemon: "Make", path: str) -> None:
    """With type, code and hint; what came before it is there, and nothing comes after."""
    word = 'data: {"choices":[{"delta":{"content":"one"},"text":"one"}]}\n\n'
    error = 'data: {"error":{"code":500,"message":"the slot was lost","type":"server_error"}}\n\n'
    daemon = await make_daemon(engine={"raw": word + error + "data: [DONE]\n\n"})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", path, json=daemon.chat(stream=True, prompt="hi"))
    first, last = [event for event in answer.text.split("\n\n") if event]

    assert word.strip() == first
    assert {
        "message": "the slot was lost",
        "type": "server_error",
        "code": "engine_refused",
        "param": None,
    } == json.loads(last.removeprefix("data: "))["error"]


async def test_an_engines_error_that_a_stream_begins_with_has_a_status(make_daemon: "Make") -> None:
    """As if it were no stream."""
    error = 'data: {"error":{"code":400,"message":"the grammar is wrong"}}\n\n'
    daemon = await make_daemon(engine={"raw": error})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", CHAT, json=daemon.chat(stream=True))

    assert (400, "the grammar is wrong") == (answer.status, answer.json["error"]["message"])


async def test_a_client_that_leaves_stops_the_generation(tiny: "Daemon") -> None:
    """Also when the answer is not streamed; the lease is given back at once."""
    body = tiny.chat(fake={"tokens": 100_000, "tokens_per_second": 100})
    request = asyncio.create_task(tiny.ask("POST", CHAT, json=body))
    await tiny.engine_says("generation started")
    request.cancel()
    await asyncio.wait([request])
    await tiny.engine_says("aborted by client")

    assert [0] == [resident.leases for resident in tiny.residents]


async def test_a_client_that_leaves_during_the_load_cancels_nothing_for_others(make_daemon: "Make") -> None:
    """The load belongs to nobody: who waits on gets the answer."""
    daemon = await make_daemon(engine={"load_seconds": 0.3})
    await daemon.add("docker.io/ai/tiny:latest")
    leaver = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: len(daemon.residents) == 1)
    stayer = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    leaver.cancel()

    assert 200 == (await stayer).status
    assert 1 == len(daemon.residents)


async def test_many_requests_share_one_load(tiny: "Daemon") -> None:
    """Whatever names they use: five at once, one instance, five answers."""
    model_id = (await tiny.ask("GET", "/models")).json[0]["id"]
    names = ["ai/tiny", "ai/tiny:latest", "tiny", "docker.io/ai/tiny", model_id]
    answers = await asyncio.gather(
        *(tiny.ask("POST", CHAT, json=tiny.chat(model=name, text=name)) for name in names)
    )

    assert names == [answer.json["choices"][0]["message"]["content"] for answer in answers]
    assert 1 == len(tiny.residents)


async def test_each_mode_has_an_instance_of_its_own(tiny: "Daemon") -> None:
    """An embedding is made by an engine that was started for it."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    await tiny.ask("POST", "/v1/embeddings", json={"model": "ai/tiny", "input": "x"})

    assert {"completion", "embedding"} == {str(resident.key.mode) for resident in tiny.residents}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "message"),
    [
        (CHAT, b"{not json", 400, "invalid_request", "invalid request"),
        (CHAT, b"[1]", 400, "invalid_request", "invalid request"),
        (CHAT, b"", 400, "invalid_request", "invalid request"),
        (CHAT, b'{"model": 7}', 400, "invalid_request", "invalid request"),
        (CHAT, b"{}", 400, "invalid_request", "model is required"),
        (CHAT, b'{"model": null}', 400, "invalid_request", "model is required"),
        (CHAT, b'{"model": "  "}', 400, "invalid_request", "model is required"),
        (CHAT, b'{"model": "Not A Name"}', 400, "invalid_reference", "invalid model reference"),
        (CHAT, b'{"model": "ai/absent"}', 404, "model_not_found", "model not found: `ai/absent`"),
        (
            "/engines/no-such/v1/chat/completions",
            b"{",
            404,
            "engine_not_found",
            "backend not found: `no-such`",
        ),
    ],
)
async def test_errors_before_the_answer_are_openais(
    tiny: "Daemon", path: str, body: bytes, status: int, code: str, message: str
) -> None:
    """A status, and JSON that official clients can read."""
    answer = await tiny.ask("POST", path, data=body)

    assert status == answer.status
    assert "application/json" == answer.headers["content-type"]
    assert code == answer.json["error"]["code"]
    assert answer.json["error"]["message"].startswith(message)


async def test_an_absent_model_comes_with_the_way_to_get_it(tiny: "Daemon") -> None:
    """The hint is a command."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(model="absent"))

    assert "pull it first: `dmr pull ai/absent:latest`" == answer.json["error"]["hint"]


async def test_a_body_over_the_limit_is_refused(make_daemon: "Make") -> None:
    """Whether its length was announced or not."""
    daemon = await make_daemon(DMR_BODY_LIMIT="1KiB")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 2000

    for body in (b"x" * 2000, pieces()):
        answer = await daemon.ask("POST", CHAT, data=body)

        assert (413, "request_too_large") == (answer.status, answer.json["error"]["code"])


async def test_a_model_that_is_added_by_another_process_is_found(daemon: "Daemon") -> None:
    """A miss looks whether the store has changed."""
    assert 404 == (await daemon.ask("POST", CHAT, json=daemon.chat())).status
    await daemon.add("docker.io/ai/tiny:latest", store=Store(daemon.services.store.root))

    assert 200 == (await daemon.ask("POST", CHAT, json=daemon.chat())).status


async def test_an_engine_that_crashes_at_load_is_quoted(make_daemon: "Make") -> None:
    """500 with the engine's own last line."""
    daemon = await make_daemon(engine={"crash_at_load": "cudaMalloc failed: out of memory"})
    await daemon.add("docker.io/ai/tiny:latest")
    answer = await daemon.ask("POST", CHAT, json=daemon.chat(stream=True))

    assert (500, "engine_failed") == (answer.status, answer.json["error"]["code"])
    assert "cudaMalloc failed: out of memory" in answer.json["error"]["message"]


async def test_an_engine_that_crashes_before_its_answer_is_quoted(tiny: "Daemon") -> None:
    """500 with the engine's own last line, and the next request finds a new engine."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(fake={"crash_on_request": True}))

    assert (500, "engine_failed") == (answer.status, answer.json["error"]["code"])
    assert "crashed on purpose at a request" in answer.json["error"]["message"]
    assert 200 == (await tiny.ask("POST", CHAT, json=tiny.chat())).status


async def test_a_crash_in_mid_stream_is_an_event(tiny: "Daemon") -> None:
    """The stream ends with an error that clients raise, not with silence."""
    async with tiny.stream(text="one two three", fake={"crash_after_tokens": 2}) as reply:
        events = (await reply.read()).decode().split("\n\n")

    assert 200 == reply.status
    assert "two" in events[-3]
    error = json.loads(events[-2].removeprefix("data: "))["error"]
    assert "engine_failed" == error["code"]
    assert "crashed on purpose after 2 tokens" in error["message"]


async def test_a_crash_while_a_whole_answer_is_made_is_a_status(tiny: "Daemon") -> None:
    """Nothing was sent yet, so the client gets 500 and the reason."""
    body = tiny.chat(text="one two", fake={"crash_after_tokens": 1})
    answer = await tiny.ask("POST", CHAT, json=body)

    assert (500, "engine_failed") == (answer.status, answer.json["error"]["code"])
    assert "crashed on purpose after 1 tokens" in answer.json["error"]["message"]


async def test_preloading_loads_and_says_nothing(tiny: "Daemon") -> None:
    """`X-Preload-Only: true` ends with 200 and no body, and the model is idle."""
    headers = {"X-Preload-Only": "true"}
    answer = await tiny.ask("POST", CHAT, json={"model": "ai/tiny", "messages": []}, headers=headers)

    assert (200, "") == (answer.status, answer.text)
    assert [(False, 0)] == [(resident.loading, resident.leases) for resident in tiny.residents]


async def test_foreign_pages_cannot_make_a_model_talk(tiny: "Daemon") -> None:
    """The data path asks the same guard as everything else."""
    foreign = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"Origin": "https://evil.example"})
    rebound = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"Host": "evil.example"})
    own = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"Origin": "http://localhost:3000"})

    assert (403, "forbidden") == (foreign.status, foreign.json["error"]["code"])
    assert 403 == rebound.status
    assert (200, "http://localhost:3000") == (own.status, own.headers["access-control-allow-origin"])


async def test_a_full_line_turns_requests_away(make_daemon: "Make") -> None:
    """503 with `Retry-After`."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_QUEUE="1", DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    waiting = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: len(daemon.residents) == 1)
    answer = await daemon.ask("POST", CHAT, json=daemon.chat())
    waiting.cancel()

    assert (503, "busy", "1") == (
        answer.status,
        answer.json["error"]["code"],
        answer.headers["retry-after"],
    )


async def test_what_outlives_the_drain_is_told_that_the_daemon_goes(make_daemon: "Make") -> None:
    """A stream ends with an error event when the daemon stops and does not wait any longer."""
    daemon = await make_daemon(DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    async with daemon.stream(fake={"tokens": 100_000, "tokens_per_second": 100}) as reply:
        await reply.content.readuntil(b"hello")
        daemon.server.should_exit = True
        rest = await reply.read()

    assert b'"code":"shutting_down"' in rest.split(b"\n\n")[-2]


async def test_a_body_that_does_not_come_is_not_waited_for_after_the_drain(
    make_daemon: "Make", caplog: pytest.LogCaptureFixture
) -> None:
    """Its request is ended like others, with the same error and no traceback."""
    daemon = await make_daemon(DMR_DRAIN="0s")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    writer.write(head + b"Expect: 100-continue\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"{")
    daemon.server.should_exit = True
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer
    assert [] == [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("body", [b'{"model": "\xff"}', b'{"x":' + b"[" * 100_000])
async def test_a_body_that_cannot_be_read_is_the_clients_fault(daemon: "Daemon", body: bytes) -> None:
    """Bytes that are no UTF-8, and nesting without end."""
    answer = await daemon.ask("POST", CHAT, data=body)

    assert (400, "invalid_request") == (answer.status, answer.json["error"]["code"])


async def test_what_ends_within_the_drain_ends_well(make_daemon: "Make") -> None:
    """A stream that runs while the daemon is told to stop is completed."""
    daemon = await make_daemon(DMR_DRAIN="10s")
    await daemon.add("docker.io/ai/tiny:latest")
    async with daemon.stream(fake={"tokens": 30, "tokens_per_second": 100}) as reply:
        await reply.content.readuntil(b"hello")
        daemon.server.should_exit = True
        rest = await reply.read()

    assert rest.endswith(b"data: [DONE]\n\n")


async def test_connections_are_reused(tiny: "Daemon") -> None:
    """Keep-alive works through the relay, also after an error and a stream."""
    connection = http.client.HTTPConnection(tiny.url.removeprefix("http://"))

    def ask(body: dict[str, object]) -> socket.socket | None:
        connection.request("POST", CHAT, json.dumps(body))
        connection.getresponse().read()
        return connection.sock

    bodies = (tiny.chat(), tiny.chat(model="ai/absent"), tiny.chat(stream=True), tiny.chat())
    sockets = [await asyncio.to_thread(ask, body) for body in bodies]
    connection.close()

    assert sockets[0] is not None
    assert 1 == len(set(sockets))


async def test_a_request_has_a_name_in_its_answer(tiny: "Daemon") -> None:
    """The client's own, or one that is made up; errors have it too."""
    named = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"X-Request-Id": "mine"})
    first = await tiny.ask("POST", CHAT, json=tiny.chat())
    failed = await tiny.ask("POST", CHAT, json=tiny.chat(model="absent"))

    assert "mine" == named.headers["x-request-id"]
    assert first.headers["x-request-id"].startswith("req_")
    assert first.headers["x-request-id"] != failed.headers["x-request-id"]


async def test_a_deadline_ends_a_request_with_an_error(tiny: "Daemon") -> None:
    """Before the answer it is a status; the engine stops, and the lease is given back."""
    await tiny.ask("POST", CHAT, json=tiny.chat())  # so that the time is not spent with loading
    slow = {"tokens": 100_000, "tokens_per_second": 100}
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(fake=slow), headers={"X-Request-Timeout": "0.5"})
    await tiny.engine_says("aborted by client")

    assert (504, "deadline_exceeded") == (answer.status, answer.json["error"]["code"])
    assert [0] == [resident.leases for resident in tiny.residents]


async def test_a_deadline_in_mid_stream_is_an_event(make_daemon: "Make") -> None:
    """The setting is the same for every request."""
    daemon = await make_daemon(DMR_REQUEST_TIMEOUT="1s")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat(), headers={"X-Request-Timeout": "30"})
    async with daemon.stream(text="one two", fake={"tokens": 100_000, "tokens_per_second": 100}) as reply:
        events = (await reply.read()).decode().split("\n\n")

    assert "deadline_exceeded" == json.loads(events[-2].removeprefix("data: "))["error"]["code"]
    assert [0] == [resident.leases for resident in daemon.residents]


@pytest.mark.parametrize("value", ["soon", "0", "-1", "inf", "nan"])
async def test_a_deadline_that_is_none_is_refused(tiny: "Daemon", value: str) -> None:
    """A number of seconds is expected."""
    answer = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"X-Request-Timeout": value})

    assert 400 == answer.status
    assert "X-Request-Timeout" in answer.json["error"]["message"]


async def test_a_client_that_stops_reading_is_let_go(tiny: "Daemon") -> None:
    """Its generation is held back, then ended; connection and lease are free again."""
    tiny.services.requests._stall = 0.2
    body = json.dumps(tiny.chat(stream=True, fake={"tokens": 2_000_000}, text="word " * 50)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(tiny.url.rpartition(":")[2]), limit=1024)
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
        % (CHAT.encode(), len(body), body)
    )
    await reader.readline()
    await tiny.engine_says("aborted by client")

    await tiny.until(lambda: [0] == [resident.leases for resident in tiny.residents])
    writer.close()


@pytest.mark.parametrize(
    ("path", "extra"),
    [("/v1/chat/completions", {"stream": True}), ("/v1/messages", {"stream": True, "max_tokens": 9})],
)
async def test_an_engine_is_told_the_name_that_it_knows(
    tiny: "Daemon", path: str, extra: dict[str, object]
) -> None:
    """Whatever the client calls the model, and whether the request is passed on or translated."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    ((_, running),) = tiny.services.pool.running()
    running.model_name = "the/only:one"
    answer = await tiny.ask("POST", path, json=tiny.chat(model="tiny") | extra)
    await tiny.engine_says("model=the/only:one")

    assert 200 == answer.status


@pytest.mark.parametrize("coding", ["gzip", "zstd", "gzip, identity"])
async def test_a_compressed_body_is_refused_by_name(tiny: "Daemon", coding: str) -> None:
    """The way out is to send it as it is; no JSON parser is asked about it."""
    answer = await tiny.ask("POST", CHAT, data=b"\x1f\x8b", headers={"Content-Encoding": coding})

    assert (415, "unsupported_encoding") == (answer.status, answer.json["error"]["code"])
    assert coding in answer.json["error"]["message"]
    same = await tiny.ask("POST", CHAT, json=tiny.chat(), headers={"Content-Encoding": "identity"})
    assert 200 == same.status


async def test_a_client_that_does_not_read_leaves_no_trace_when_the_daemon_stops(
    make_daemon: "Make", caplog: pytest.LogCaptureFixture
) -> None:
    """Its stream is cut at the deadline: no event, for which there is no room, and no traceback."""
    daemon = await make_daemon(DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    body = json.dumps(daemon.chat(stream=True, fake={"tokens": 2_000_000}, text="word " * 50)).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]), limit=1024)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(body))
    writer.write(head + body)
    await daemon.until(lambda: [1] == [resident.leases for resident in daemon.residents])
    (scope,) = daemon.services.requests._cancel_scopes
    sends = -1
    while sends % 2 == 0 or sends != scope.sends:
        sends = scope.sends
        await asyncio.sleep(0.1)
    daemon.server.should_exit = True
    await asyncio.wait(daemon.server.server_state.tasks)
    writer.close()

    assert [] == [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("path", [CHAT, "/api/chat", "/v1/messages"])
async def test_a_stream_that_fails_late_leaves_nothing_to_the_garbage_collector(
    make_daemon: "Make", path: str
) -> None:
    """Its error stands in a frame that its traceback has; a body of megabytes would stay as long."""
    events = ({"choices": [{"delta": {"content": "x"}}]}, {"error": {"message": "late", "code": 500}})
    raw = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    daemon = await make_daemon(engine={"raw": raw})
    await daemon.add("docker.io/ai/tiny:latest")
    body = {**daemon.chat(stream=True), "max_tokens": 5}
    await daemon.ask("POST", path, json=body)
    gc.collect()
    before = _errors()  # of other tests, perhaps
    gc.disable()
    logging.disable(logging.CRITICAL)  # what is logged, pytest keeps
    try:
        await daemon.ask("POST", path, json=body)
        for _ in range(100):  # the request may not be quite over
            if not (left := _errors(before)):
                break
            await asyncio.sleep(0.01)
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)

    assert [] == left


def _errors(known: Sequence[RunnerError] = ()) -> list[RunnerError]:
    """The errors that there are, but for those that are known."""
    found = [each for each in gc.get_objects() if isinstance(each, RunnerError)]
    return [each for each in found if not any(each is other for other in known)]

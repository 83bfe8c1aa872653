"""The recorder beside a running daemon: every request in every dialect, and what goes wrong with it."""

import asyncio
import contextlib
import io
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.recorder.database import open_to_read, open_to_write
from modelrunner.recorder.searching import oldest_first
from modelrunner.recorder.values import Circumstances, Filter, Order, Report
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.connection.cancel_scope import Ending
from modelrunner.server.inference import note as inference_note
from modelrunner.server.inference.note import Note
from modelrunner.server.inspection import listening
from modelrunner.server.inspection import recording as module
from modelrunner.server.inspection.recording import Recording
from modelrunner.testing.serving import serving
from tests.recorder.conftest import noted, seen

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

RECORDED = {"DMR_REQUESTS": "64MiB"}
CHAT = "/engines/v1/chat/completions"


def note(prompt: str = "hello", **more: Any) -> Note:
    """A note as a request leaves it."""
    return Note(*msgspec.structs.astuple(seen(noted(prompt, **more))))


async def recorded(make_daemon: "Make", **variables: str) -> "Daemon":
    daemon = await make_daemon(**{**RECORDED, **variables})
    await daemon.add("docker.io/ai/tiny:latest")
    return daemon


async def listed(daemon: "Daemon", query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await daemon.ask("GET", f"/requests{query}")).json["requests"]
    return found


async def test_every_dialect_is_recorded_streamed_and_whole(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    say = {"model": "ai/tiny", "messages": [{"role": "user", "content": "hello world"}]}
    asked = [
        ("/v1/chat/completions", say),
        ("/v1/chat/completions", {**say, "stream": True}),
        ("/v1/completions", {"model": "ai/tiny", "prompt": "hello world"}),
        ("/v1/embeddings", {"model": "ai/tiny", "input": "hello world"}),
        ("/v1/responses", {"model": "ai/tiny", "input": "hello world"}),
        ("/v1/responses", {"model": "ai/tiny", "input": "hello world", "stream": True}),
        ("/anthropic/v1/messages", {**say, "max_tokens": 9}),
        ("/anthropic/v1/messages", {**say, "max_tokens": 9, "stream": True}),
        ("/api/chat", say),
        ("/api/chat", {**say, "stream": False}),
        ("/api/generate", {"model": "ai/tiny", "prompt": "hello world"}),
    ]
    for path, body in asked:
        assert 200 == (await daemon.ask("POST", path, json=body)).status, path

    found = (await listed(daemon))[::-1]

    assert [path for path, _ in asked] == [each["path"] for each in found]
    assert {"hello world"} == {each["prompt"] for each in found}
    assert {"ok"} == {each["outcome"] for each in found}
    model = str(daemon.services.catalogue.find("ai/tiny").id)
    assert {model} == {each["model_id"] for each in found}
    for each in found:
        if each["path"] != "/v1/embeddings":
            assert "hello world" == each["answer"], each["path"]
            counted = (
                not each["streamed"] or each["path"] != "/v1/chat/completions"
            )  # there, who asks is told
            assert (2 if counted else None) == each["completion_tokens"], each["path"]
    streamed = [each["path"] for each in found if each["streamed"]]
    assert 5 == len(streamed)


async def test_what_fails_is_recorded_with_its_reason(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat("ai/nothing"))
    await daemon.ask("POST", CHAT, data=b"nonsense")
    await daemon.ask("POST", CHAT, json=daemon.chat(fake={"status": 500}))

    broken, unreadable, missing = await listed(daemon, "?outcome=failed")

    assert ("ai/nothing", 404, "") == (missing["model"], missing["status"], missing["model_id"])
    assert 400 == unreadable["status"]
    assert "refused on purpose" in broken["error"]
    assert [] == (await daemon.ask("GET", "/engines/requests?model=ai/nothing")).json


async def test_a_client_that_leaves_is_recorded_with_what_it_got(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    async with daemon.stream(fake={"tokens": 1000, "tokens_per_second": 100}) as reply:
        await reply.content.readuntil(b"hello")  # what comes before it is the role alone
    await daemon.engine_says("aborted")

    [found] = await listed(daemon)

    assert ("cancelled", 200) == (found["outcome"], found["status"])
    assert found["answer"].startswith("hello")


async def test_the_timeline_tells_of_the_load(make_daemon: "Make") -> None:
    daemon = await make_daemon(engine={"load_seconds": 0.3}, **RECORDED)
    await daemon.add("docker.io/ai/tiny:latest")
    async with daemon.stream(fake={"tokens": 5, "tokens_per_second": 50}) as reply:
        await reply.read()

    timeline = (await daemon.ask("GET", "/requests/1")).json["timeline"]

    assert timeline["loading"] >= 0.3
    assert timeline["tokens"] > 0.05
    assert timeline["prompt"] > 0


async def test_history_survives_unload_and_restart(make_daemon: "Make", tmp_path: Path) -> None:
    where = {"DMR_REQUESTS_PATH": str(tmp_path / "requests.db")}
    daemon = await recorded(make_daemon, **where)
    await daemon.ask("POST", CHAT, json=daemon.chat())
    await daemon.ask("POST", "/engines/unload", json={"all": True})
    assert 1 == len(await listed(daemon))
    await daemon.services.observing.recording.close()

    again = await make_daemon(**RECORDED, **where)

    assert 1 == len(await listed(again))
    assert 0o600 == (tmp_path / "requests.db").stat().st_mode & 0o777


@pytest.mark.parametrize("value", ["off", "false", "0", " Off "])
async def test_a_header_keeps_a_request_out(make_daemon: "Make", value: str) -> None:
    daemon = await recorded(make_daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat(), headers={"X-Record": value})

    assert [] == await listed(daemon)


async def test_a_model_that_is_configured_so_is_not_recorded(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    await daemon.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "record": False})
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert [] == await listed(daemon)

    # A stock client, which knows nothing of it, does not turn it on again.
    await daemon.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "context-size": 2048})
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert [] == await listed(daemon)

    await daemon.ask("PATCH", "/engines/_configure", json={"model": "ai/tiny", "record": None})
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))


async def test_a_preload_is_no_request(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat(), headers={"X-Preload-Only": "true"})

    assert [] == await listed(daemon)


async def test_a_recorder_that_is_off_starts_no_process(daemon: "Daemon") -> None:
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat())

    assert [] == await listed(daemon)
    assert "off" == (await daemon.ask("GET", "/requests/recorder")).json["state"]
    assert daemon.services.observing.recording._running is None


async def test_a_response_in_the_background_is_recorded_when_it_is_made(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    reply = await daemon.ask(
        "POST", "/v1/responses", json={"model": "ai/tiny", "input": "hello world", "background": True}
    )
    name = reply.json["id"]
    job = daemon.services.responding._jobs.get(name)
    if job is not None and job.task is not None:
        await asyncio.wait([job.task])

    found = (await daemon.ask("GET", f"/requests/{name}")).json

    assert ("hello world", "hello world", "ok") == (found["prompt"], found["answer"], found["outcome"])


async def test_ten_megabytes_and_control_characters_come_back_as_they_were(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    text = "<script>\x1b[2J\u202e" + "x" * 10_000_000
    body = json.dumps(daemon.chat(text=text, fake={"tokens": 1}))
    await daemon.ask("POST", CHAT, data=io.BytesIO(body.encode()))
    await daemon.ask(
        "POST", CHAT, data=b'{"model":"ai/tiny","messages":[{"role":"user","content":"a\\ud800b"}]}'
    )

    found = (await daemon.ask("GET", "/requests/1")).json

    assert text == found["prompt"]
    assert not found["cut"]
    assert text[:200] == (await listed(daemon))[1]["prompt"]
    assert "a?b" == (await listed(daemon))[0]["prompt"]


async def test_a_recorder_that_is_killed_is_started_again(make_daemon: "Make") -> None:
    daemon = await recorded(make_daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat())
    await daemon.services.observing.recording.settle()
    running = daemon.services.observing.recording._running
    assert running is not None
    os.kill(running.process.pid, signal.SIGKILL)
    assert running.reading is not None
    await running.reading

    await daemon.ask("POST", CHAT, json=daemon.chat())

    assert [2, 1] == [each["id"] for each in await listed(daemon)]


async def test_a_recorder_that_stands_still_holds_nobody_up(
    make_daemon: "Make", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who collects metrics gets the others, who wants to forget something is told; then it goes on."""
    daemon = await recorded(make_daemon, DISABLE_METRICS="0")
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))
    running = daemon.services.observing.recording._running
    assert running is not None
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(module, "_FIGURES_WITHIN", 0.2)
            patch.setattr(module, "_STUCK_AFTER", 0.2)
            metrics = await daemon.ask("GET", "/metrics")
            refused = await daemon.ask("DELETE", "/requests/1")
    finally:
        os.kill(running.process.pid, signal.SIGCONT)

    assert 200 == metrics.status
    assert "modelrunner_recorder_up" in metrics.text
    assert "modelrunner_tokens_total" not in metrics.text
    assert (500, True) == (refused.status, "the recorder does not answer" in refused.text)
    assert "modelrunner_tokens_total" in (await daemon.ask("GET", "/metrics")).text


async def test_those_who_want_the_recorder_at_once_share_one(tmp_path: Path) -> None:
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    first, second = await asyncio.gather(recording._started(), recording._started())
    await recording.close()

    assert first is second


@pytest.mark.parametrize("exports", [False, True])
async def test_the_recorder_knows_a_proxy_only_if_it_exports(tmp_path: Path, *, exports: bool) -> None:
    environ = {**os.environ, "HTTPS_PROXY": "http://ada:secret@proxy", "OTEL_EXPORTER_OTLP_HEADERS": "secret"}
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, [], exports=exports), environ)
    running = await recording._started()
    known = psutil.Process(running.process.pid).environ()
    await recording.close()

    assert exports == ("HTTPS_PROXY" in known)
    assert exports == ("OTEL_EXPORTER_OTLP_HEADERS" in known)


@pytest.mark.parametrize("instead", ["nothing", "no tables"])
async def test_a_file_that_is_deleted_or_has_no_tables_yet_is_empty(
    make_daemon: "Make", tmp_path: Path, instead: str
) -> None:
    file = tmp_path / "requests.db"
    daemon = await recorded(make_daemon, DMR_REQUESTS_PATH=str(file))
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))
    file.unlink()
    if instead == "no tables":
        file.touch()

    assert [] == await listed(daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat())
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 2 == len(await listed(daemon))


async def test_what_becomes_too_old_goes_while_nothing_comes(
    make_daemon: "Make", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.01)
    file = tmp_path / "requests.db"
    daemon = await recorded(make_daemon, DMR_REQUESTS_PATH=str(file))
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))
    with contextlib.closing(open_to_write(file)) as connection:
        connection.execute("UPDATE requests SET at = 1000.0")
        async with asyncio.timeout(30):
            while connection.execute("SELECT count(*) FROM requests").fetchone()[0]:
                assert [] == await listed(daemon)


async def test_a_damaged_file_is_set_aside(
    make_daemon: "Make", tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "requests.db"
    daemon = await recorded(make_daemon, DMR_REQUESTS_PATH=str(file))
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))
    await daemon.services.observing.recording.close()
    await daemon.services.observing.archive.close()
    file.write_bytes(b"nonsense" * 10_000)

    again = await make_daemon(**RECORDED, DMR_REQUESTS_PATH=str(file))
    assert [] == await listed(again)
    await again.add("docker.io/ai/tiny:latest")
    await again.ask("POST", CHAT, json=again.chat())

    assert 1 == len(await listed(again))
    assert "set aside" in caplog.text


async def test_while_nothing_can_be_written_requests_are_served_and_the_loss_is_counted(
    make_daemon: "Make", tmp_path: Path
) -> None:
    blocker = tmp_path / "folder"
    blocker.write_text("no folder")
    daemon = await recorded(make_daemon, DMR_REQUESTS_PATH=str(blocker / "requests.db"), DISABLE_METRICS="0")
    assert 200 == (await daemon.ask("POST", CHAT, json=daemon.chat())).status
    assert [] == await listed(daemon)

    view = (await daemon.ask("GET", "/requests/recorder")).json
    assert ("failing", 1) == (view["state"], view["dropped"])
    metrics = (await daemon.ask("GET", "/metrics")).text
    assert "modelrunner_recorder_up 0\n" in metrics
    assert "modelrunner_recorder_dropped_total 1\n" in metrics

    blocker.unlink()
    await daemon.ask("POST", CHAT, json=daemon.chat())
    assert 1 == len(await listed(daemon))
    view = (await daemon.ask("GET", "/requests/recorder")).json
    assert ("ok", 1, "") == (view["state"], view["dropped"], view["reason"])


async def test_what_is_too_much_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 10_000)
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)

    for _ in range(20):
        recording.take(note("x" * 2000))
    await recording.settle()

    assert recording.dropped == 17
    assert recording.waiting == 0
    recording.take(note("once more there is room"))
    await recording.settle()
    assert recording.dropped == 17
    assert 4 == await recording.forget(Filter())
    await recording.close()


async def test_where_there_is_no_room_for_an_answer_the_request_is_recorded_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD", 22_000)
    file = tmp_path / "requests.db"
    recording = Recording(Order(str(file), 1 << 20, 1e9, []), os.environ)

    for _ in range(3):
        large = note()
        large.piece(b" " * 9_000)
        large.end(b"", None, Ending.CLIENT_STALLED)
        recording.take(large)
    await recording.settle()
    with contextlib.closing(open_to_read(file)) as reading:
        found = [(row["outcome"], row["cut"]) for row in oldest_first(reading, Filter())]
    await recording.close()

    assert 0 == recording.dropped
    assert [("cancelled", False), ("cancelled", False), ("cancelled", True)] == found


async def test_an_answer_counts_for_as_much_as_is_kept_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of which only the beginning is kept has room for that, however long it was."""
    monkeypatch.setattr(module, "_MOST_HELD", 30_000)
    monkeypatch.setattr(inference_note, "_MOST_ANSWER", 10_000)
    file = tmp_path / "requests.db"
    recording = Recording(Order(str(file), 1 << 20, 1e9, []), os.environ)
    large = note()
    for _ in range(50):
        large.piece(b"x" * 1_000)
    large.end(b"", None, None)
    recording.take(large)
    await recording.settle()
    with contextlib.closing(open_to_read(file)) as reading:
        [row] = oldest_first(reading, Filter())
    await recording.close()

    assert row["cut"]
    assert "x" * 100 in (row["response"] or "")


async def test_who_follows_hears_of_every_request_of_a_busy_second(tmp_path: Path) -> None:
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)

    with recording.listen() as listener:
        for _ in range(1000):
            recording.take(note())
        await recording.settle()
        heard = [await listener.next() for _ in range(1000 - listener.lost)]
    await recording.close()

    assert list(range(1, 1001)) == heard


async def test_a_note_that_cannot_be_written_is_dropped_and_counted(tmp_path: Path) -> None:
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)

    recording.take(note("before"))
    recording.take(note(error="half of \ud800"))
    recording.take(note("after"))
    await recording.settle()

    assert (1, 0) == (recording.dropped, recording.waiting)
    assert 2 == await recording.forget(Filter())
    await recording.close()


async def test_the_only_requests_are_stored_when_the_daemon_ends_right_after_them(tmp_path: Path) -> None:
    order = Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, [])
    recording = Recording(order, os.environ)

    recording.take(note())
    await recording.close()
    again = Recording(order, os.environ)

    assert (0, 0) == (recording.dropped, recording.waiting)
    assert 1 == await again.forget(Filter())
    await again.close()


async def test_what_comes_after_the_end_is_counted(tmp_path: Path) -> None:
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    await recording.settle()
    recording._closing = True  # as while the process ends

    recording.take(note())
    await recording.close()

    assert (1, 0) == (recording.dropped, recording.waiting)


async def test_an_engine_that_fails_to_tell_of_itself_costs_no_other_request(tmp_path: Path) -> None:
    broken = Key("broken", Digest.of(b"broken"), Mode.COMPLETION)

    def circumstances(key: Key) -> Circumstances:
        raise ValueError("an engine of somebody's")

    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ, circumstances)

    for key in (None, broken, None):
        taken = note()
        taken.key = key
        recording.take(taken)
    await recording.settle()

    assert (1, 0) == (recording.dropped, recording.waiting)
    assert 2 == await recording.forget(Filter())
    await recording.close()


async def test_who_asks_in_the_middle_of_a_burst_sees_what_came_before(tmp_path: Path) -> None:
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    going_on = True

    async def burst() -> None:
        while going_on:
            recording.take(note())
            await asyncio.sleep(0.002)  # as clients come, one after the other

    others = asyncio.create_task(burst())
    await asyncio.sleep(0)
    taken = recording.waiting
    await recording.settle()

    assert recording._settled >= taken > 0
    assert recording.last.stored
    going_on = False
    await others
    await recording.close()


@pytest.mark.parametrize(
    ("bound", "value", "watched"),
    [("_MANY", 1, False), ("_LONGEST_WAIT", 0.1, False), ("_WATCHED_WAIT", 0.1, True), (None, None, False)],
)
async def test_a_burst_is_stored_when_it_is_over_unless_it_is_long_or_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str | None, value: float, *, watched: bool
) -> None:
    if bound is not None:
        monkeypatch.setattr(module, bound, value)
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    going_on = True

    async def burst() -> None:
        while going_on:
            recording.take(note())
            await asyncio.sleep(0)

    async def is_stored() -> None:
        async with recording._done:
            await recording._done.wait_for(lambda: recording.last.stored)

    with recording.listen() if watched else contextlib.nullcontext():
        others = asyncio.create_task(burst())
        storing = asyncio.create_task(is_stored())
        await asyncio.wait([storing], timeout=30 if bound is not None else 1.5)
        stored_meanwhile = storing.done()
        going_on = False
        await others
        await storing  # without anybody who asks for it
    await recording.close()

    assert stored_meanwhile == (bound is not None)


async def test_a_rule_that_takes_for_ever_costs_what_it_hangs_on_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STUCK_AFTER", 3.0)
    rules = [("slow", r"(a+)+b$")]
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, rules), os.environ)
    recording.take(note("a" * 100))
    await recording.settle()

    recording.take(note("fine"))
    await recording.settle()

    assert recording.dropped == 1
    assert 1 == await recording.forget(Filter())
    await recording.close()


async def test_a_recorder_that_reports_is_given_time_anew(tmp_path: Path) -> None:
    """A burst may take it longer than anything alone."""
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    running = await recording._started()
    async with recording._getting_on(running):
        assert recording._patience is not None
        before = recording._patience.when()
        await asyncio.sleep(0.01)
        await recording._heard(running, Report())
        after = recording._patience.when()
    await recording._heard(running, Report())  # which nobody waits for
    await recording.close()

    assert before is not None
    assert after is not None
    assert after > before


async def test_a_listener_that_reads_too_slowly_loses_and_knows_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_MOST_UNREAD", 100)
    recording = Recording(Order(str(tmp_path / "requests.db"), 1 << 20, 1e9, []), os.environ)
    with recording.listen() as slow:
        for _ in range(150):
            recording.take(note())
        await recording.settle()

        assert 50 == slow.lost
        assert 1 == await slow.next()
    await recording.close()


async def test_a_daemon_tells_of_its_requests_by_opentelemetry(make_daemon: "Make") -> None:
    taken: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def receiver(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        taken.put_nowait((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(receiver) as url:
        daemon = await make_daemon(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="50")
        await daemon.add("docker.io/ai/tiny:latest")
        await daemon.ask(
            "POST", CHAT, json=daemon.chat(), headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        )
        await daemon.services.observing.recording.settle()
        async with asyncio.timeout(30):
            while (found := await taken.get())[0] != "/v1/traces":
                pass
        await daemon.services.observing.recording.close()

    assert b"chat ai/tiny" in found[1]
    assert b"\xab" * 16 in found[1]
    assert [] == await listed(daemon)

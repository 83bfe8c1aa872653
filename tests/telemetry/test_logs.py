"""The log files: how lines are written, rotated, merged and followed."""

import asyncio
import io
import logging
import os
import stat
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from modelrunner.errors import StoreError
from modelrunner.telemetry import logs as module
from modelrunner.telemetry.logs import ENGINE_LOG, SERVICE_LOG, Logs, stamp

TINY = ("llama.cpp", "0123456789ab")
TINY_LOG = "engines/llama.cpp-0123456789ab.log"


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    made = Logs(tmp_path / "logs", limit=1_000_000)
    yield made
    made.close()


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / name).write_text("".join(lines))


async def everything(logs: Logs, *, engines: bool = True, model: str | None = None) -> list[str]:
    parts = [part async for part in logs.read(follow=False, engines=engines, model=model)]
    return b"".join(parts).decode().splitlines()


def test_a_stamp_has_nine_digits_in_utc() -> None:
    """Stamps sort as text."""
    assert "2026-01-02T03:04:05.000000007Z" == stamp(1_767_323_045_000_000_007)


async def test_a_line_is_written_with_its_stamp(logs: Logs, tmp_path: Path) -> None:
    """Those of the service and of each model in an engine go to a file each, as `[stamp] text`."""
    logs.service_line("level=INFO msg=hello")
    logs.engine_line(*TINY, "loading model\n")
    logs.flush()

    service = (tmp_path / "logs" / SERVICE_LOG).read_text()
    engine = (tmp_path / "logs" / TINY_LOG).read_text()
    assert service.endswith("Z] level=INFO msg=hello\n")
    assert engine.endswith("Z] loading model\n")
    assert len("[2026-01-02T03:04:05.123456789Z] ") == service.index("level")


def test_the_folder_is_its_owners_alone(logs: Logs, tmp_path: Path) -> None:
    """Prompts may be in logs, so nobody else reads them."""
    logs.engine_line(*TINY, "x")
    logs.flush()

    assert 0o700 == stat.S_IMODE((tmp_path / "logs").stat().st_mode)
    assert 0o600 == stat.S_IMODE((tmp_path / "logs" / TINY_LOG).stat().st_mode)
    assert 0o700 == stat.S_IMODE((tmp_path / "logs" / TINY_LOG).parent.stat().st_mode)


def test_a_folder_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    """The message names the folder, the hint the variable."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot write log files") as caught:
        Logs(tmp_path / "file" / "logs", limit=100)

    assert "MODEL_RUNNER_LOG_DIR" in (caught.value.hint or "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_is_no_log(tmp_path: Path) -> None:
    """Nobody waits for somebody who reads it."""
    os.mkfifo(tmp_path / SERVICE_LOG)

    with pytest.raises(StoreError, match="cannot write log files"):
        Logs(tmp_path, limit=100)


async def test_records_become_lines_of_keys_and_values(logs: Logs, tmp_path: Path) -> None:
    """A log record has level, logger and message; a traceback follows, a line each."""
    logger = logging.getLogger("test.logs")
    logger.propagate = False
    logger.addHandler(logs.handler())
    try:
        1 / 0  # noqa: B018 - for its traceback
    except ZeroDivisionError:
        logger.exception('it "failed" id=%s', 7)
    logs.flush()

    lines = [line.partition("] ")[2] for line in (tmp_path / "logs" / SERVICE_LOG).read_text().splitlines()]
    assert 'level=ERROR logger=test.logs msg="it \\"failed\\" id=7"' == lines[0]
    assert "Traceback (most recent call last):" == lines[1]
    assert "ZeroDivisionError: division by zero" == lines[-1]


async def test_files_are_merged_by_time(logs: Logs, tmp_path: Path) -> None:
    """Earlier lines come first, the service's on a tie; stamps may have fewer digits."""
    write(
        tmp_path,
        SERVICE_LOG,
        "[2026-01-01T00:00:01.000000000Z] s1\n",
        "[2026-01-01T00:00:03.5Z] s3\n",
    )
    write(
        tmp_path,
        ENGINE_LOG,
        "[2026-01-01T00:00:01.000000000Z] e1\n",
        "[2026-01-01T00:00:02.999Z] e2\r\n",
        "\n",
        "[2026-01-01T00:00:04Z] e4",
    )

    merged = [line.rpartition(" ")[2] for line in await everything(logs)]

    assert ["s1", "e1", "e2", "s3", "e4"] == merged


async def test_a_line_without_a_stamp_stays_with_the_one_before(logs: Logs, tmp_path: Path) -> None:
    """Continuation lines are kept, in their place."""
    write(
        tmp_path, SERVICE_LOG, "[2026-01-01T00:00:01Z] s1\n", "  more of s1\n", "[2026-01-01T00:00:03Z] s3\n"
    )
    write(tmp_path, ENGINE_LOG, "[2026-01-01T00:00:02Z] e2\n")

    assert ["s1", "s1", "e2", "s3"] == [line.rpartition(" ")[2] for line in await everything(logs)]


async def test_engine_lines_can_be_left_out(logs: Logs) -> None:
    """Without engines only the service's lines come; a missing engine file is fine."""
    logs.service_line("one")
    assert ["one"] == [line.partition("] ")[2] for line in await everything(logs)]

    logs.engine_line(*TINY, "two")
    assert ["one"] == [line.partition("] ")[2] for line in await everything(logs, engines=False)]


async def test_a_model_s_log_can_be_read_alone(logs: Logs) -> None:
    """What its engines said, whichever they are, and nothing of other models or of the service."""
    logs.service_line("service")
    logs.engine_line(*TINY, "one")
    logs.engine_line("llama.cpp", "ba9876543210", "other")
    logs.engine_line("vllm", "0123456789ab", "two")

    assert ["one", "two"] == [
        line.partition("] ")[2] for line in await everything(logs, model="0123456789ab")
    ]
    assert [] == await everything(logs, model="000000000000")
    assert ["service", "one", "other", "two"] == [line.partition("] ")[2] for line in await everything(logs)]


async def test_the_logs_of_models_are_bounded_in_number_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were written to last are kept, each smaller than the daemon's own."""
    monkeypatch.setattr(module, "_MOST_ENGINE_LOGS", 2)
    logs = Logs(tmp_path, limit=4000)
    for number in range(4):
        logs.engine_line("llama.cpp", f"{number:012}", "x" * 500)
        logs.engine_line("llama.cpp", f"{number:012}", "x" * 500)
        logs.flush()
        os.utime(tmp_path / "engines" / f"llama.cpp-{number:012}.log", (number, number))
    logs.close()

    names = sorted(path.name for path in (tmp_path / "engines").iterdir())
    kept = [f"llama.cpp-{number:012}.log" for number in (2, 3)]
    assert [kept[0], f"{kept[0]}.1", kept[1], f"{kept[1]}.1"] == names


async def follow(lines: AsyncGenerator[bytes, None], wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        seen += await anext(lines)
    return seen


async def test_following_continues_where_the_merge_ended(logs: Logs) -> None:
    """What is written later arrives once, without a gap."""
    logs.service_line("before")
    lines = logs.read(follow=True, engines=True)
    seen = await follow(lines, b"before")
    logs.engine_line(*TINY, "engine after")
    logs.service_line("service after")
    while not (b"engine after" in seen and b"service after" in seen):
        seen += await anext(lines)
    await lines.aclose()

    assert 1 == seen.count(b"before") == seen.count(b"engine after") == seen.count(b"service after")


async def test_following_sees_a_model_that_is_loaded_later(logs: Logs) -> None:
    """Its log comes to be while somebody reads; nothing of it is missed."""
    lines = logs.read(follow=True, engines=True)
    logs.service_line("before")
    seen = await follow(lines, b"before")
    alone = logs.read(follow=True, engines=True, model=TINY[1])
    logs.engine_line(*TINY, "first")
    seen += await follow(lines, b"first")
    logs.engine_line(*TINY, "second")
    seen += await follow(lines, b"second")
    await lines.aclose()

    assert 1 == seen.count(b"first") == seen.count(b"second")
    assert b"first" in await follow(alone, b"second")
    await alone.aclose()


async def test_following_survives_rotation(tmp_path: Path) -> None:
    """A full file is set aside as `.1`, and a follower goes on in the new one, missing nothing."""
    logs = Logs(tmp_path / "logs", limit=300)
    lines = logs.read(follow=True, engines=False)
    logs.service_line("first")
    seen = await follow(lines, b"first")
    for number in range(20):
        logs.service_line(f"line {number:02} {'x' * 40}")
        seen += await follow(lines, f"line {number:02}".encode())
    await lines.aclose()
    logs.close()

    assert (tmp_path / "logs" / f"{SERVICE_LOG}.1").exists()
    assert [f"line {number:02}".encode() for number in range(20)] == [
        line.split(b"] ")[1][:7] for line in seen.splitlines() if b"] line" in line
    ]


async def test_a_file_deleted_from_outside_is_made_again(logs: Logs, tmp_path: Path) -> None:
    """Somebody else's clean-up does not silence the daemon."""
    logs.service_line("one")
    logs.flush()
    (tmp_path / "logs" / SERVICE_LOG).unlink()
    logs.service_line("two")

    assert ["two"] == [line.partition("] ")[2] for line in await everything(logs)]


def test_a_flood_is_cut_and_the_cut_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When lines come faster than they are written, the rest is dropped and a line says how many."""
    monkeypatch.setattr(module, "_MOST_WAITING", 0)
    logs = Logs(tmp_path, limit=1_000_000)
    logs.engine_line(*TINY, "lost")
    logs.engine_line(*TINY, "lost")
    monkeypatch.undo()
    logs.engine_line(*TINY, "kept")
    logs.close()

    assert "2 log lines were dropped" in (tmp_path / SERVICE_LOG).read_text()
    assert "kept" in (tmp_path / TINY_LOG).read_text()


def test_the_console_shows_the_service_only_and_may_go_away(tmp_path: Path) -> None:
    """Service lines are shown as they are written; a closed console is no reason to stop."""
    console = io.StringIO()
    logs = Logs(tmp_path, limit=1_000_000, console=console)
    logs.service_line("shown")
    logs.engine_line(*TINY, "not shown")
    logs.flush()
    shown = console.getvalue()
    console.close()
    logs.service_line("still written")
    logs.close()

    assert "shown" == shown.strip().partition("] ")[2]
    assert "still written" in (tmp_path / SERVICE_LOG).read_text()


async def test_a_follower_that_leaves_is_forgotten(logs: Logs) -> None:
    """Nothing is kept for followers that are gone."""
    logs.service_line("x")
    lines = logs.read(follow=True, engines=True)
    await anext(lines)
    assert 1 == len(logs._watchers)
    await lines.aclose()

    assert not logs._watchers
    await asyncio.to_thread(logs.flush)


async def test_what_was_set_aside_is_read_too(tmp_path: Path) -> None:
    """A log that has just been rotated is not empty."""
    logs = Logs(tmp_path / "logs", limit=200)
    for number in range(6):
        logs.service_line(f"level=INFO msg={number} {'x' * 20}")
        logs.flush()

    found = await everything(logs)
    logs.close()

    assert (tmp_path / "logs" / f"{SERVICE_LOG}.1").exists()
    assert ["3", "4", "5"] == [line.split("msg=")[1][0] for line in found][-3:]

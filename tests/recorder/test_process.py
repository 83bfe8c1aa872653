"""The recorder's process: what it is told, and what it reports when files and disks fail."""

import io
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from modelrunner.recorder import process
from modelrunner.recorder.database import open_to_read, pages
from modelrunner.recorder.frames import LENGTH, framed, report_of
from modelrunner.recorder.process import Recorder, serve
from modelrunner.recorder.reading import read_noted
from modelrunner.recorder.searching import overview, page, whole
from modelrunner.recorder.values import (
    Damaged,
    Figures,
    Filter,
    Forget,
    Noted,
    Order,
    Report,
    Store,
    Told,
)
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import noted, notes


def order(path: Path | None, *, limit: int = 1 << 30, lifetime: float = 1e9) -> Order:
    return Order(None if path is None else str(path), limit, lifetime, [])


def reports_of(*told: Told) -> list[Report]:
    out = io.BytesIO()
    serve(io.BytesIO(b"".join(map(framed, told))), out)
    out.seek(0)
    found = []
    while head := out.read(LENGTH.size):
        found.append(report_of(out.read(LENGTH.unpack(head)[0])))
    return found


def count(path: Path) -> int:
    return len(page(open_to_read(path), Filter(), 1000)["requests"])


def test_what_it_is_told_is_stored_and_reported(file: Path) -> None:
    stored, forgotten = reports_of(
        order(file), notes(1, noted(), noted(keep=False), noted()), Forget(5, Filter(ids=(1,)))
    )

    assert [1, 2] == stored.stored
    assert (5, 1) == forgotten.answer
    assert 1 == count(file)


def test_what_comes_in_a_burst_is_stored_together(file: Path) -> None:
    [report] = reports_of(order(file), notes(1, noted()), notes(2, noted(), noted()), Store(), Store())

    assert (2, [1, 2, 3]) == (report.batch, report.stored)


@pytest.mark.parametrize(("bound", "value"), [("_MOST_TOGETHER", 2), ("_MOST_BYTES", 700)])
def test_what_is_much_is_stored_in_parts(
    file: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(process, bound, value)

    reports = reports_of(order(file), *(notes(number, noted()) for number in (1, 2, 3)), Store())

    assert [2, 3] == [report.batch for report in reports]
    assert 3 == count(file)


def test_what_is_too_old_goes_also_when_nothing_comes(file: Path) -> None:
    """All that the recorder is told then is that there is time (a review's A2)."""
    reports_of(order(file), notes(1, noted(at=time.time() - 1000), noted()))
    assert 2 == count(file)

    reports_of(order(file, lifetime=60), Store())

    assert 1 == count(file)


def test_what_is_too_much_goes_with_each_batch(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MOST_TOGETHER", 1)
    limit = 1 << 20

    batches = [notes(number, noted(f"{number} " * 60_000)) for number in range(1, 9)]
    *_, last = reports_of(order(file, limit=limit), *batches, Store())

    assert ("ok", []) == (last.state, last.log)
    assert 0 < count(file) < 8
    used, free, size = pages(open_to_read(file))
    assert (used - free) * size <= limit


def test_what_was_stored_is_so_although_nothing_can_be_removed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no loss, those who listen hear of it, and the log says it once (a review's A2)."""

    def fail(_: Writing) -> None:
        exc = sqlite3.OperationalError("database or disk is full")
        exc.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise exc

    monkeypatch.setattr(Writing, "trim", fail)

    first, second, last = reports_of(
        order(file), notes(1, noted()), Store(), notes(2, noted()), Store(), Figures(1)
    )

    assert ([1], 0, [2], 0) == (first.stored, first.lost, second.stored, second.lost)
    assert ["ok"] * 3 == [each.state for each in (first, second, last)]
    [(level, text)] = first.log + second.log + last.log
    assert "error" == level
    assert "cannot be removed" in text


def test_a_reader_does_not_see_what_is_too_old(file: Path) -> None:
    """Whether the recorder has removed it or not."""
    reports_of(order(file), notes(1, noted(at=time.time() - 1000), noted()))

    reading = open_to_read(file, lifetime=60)

    assert [2] == [each["id"] for each in page(reading, Filter(words="hello"), 9)["requests"]]
    assert whole(reading, 1) is None
    assert 1 == overview(reading)[0]


def test_without_a_file_requests_are_read_and_nothing_is_stored(tmp_path: Path) -> None:
    report, figures = reports_of(order(None), notes(1, noted()), Figures(3))

    assert [] == report.stored
    assert (3, 0) == figures.answer
    assert 'modelrunner_tokens_total{model="ai/tiny:latest",kind="prompt"} 10\n' in figures.text
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("depth", [600, 5000, 50_000])
def test_a_body_that_is_nested_too_deeply_is_kept_as_a_text_without_ado(file: Path, depth: int) -> None:
    """Whether JSON can still be read that deep or not."""
    body = f'{{"messages": [], "x": {"[" * depth}{"]" * depth}}}'

    [report] = reports_of(order(file), notes(1, noted(body=body.encode())))
    found = whole(open_to_read(file), 1)

    assert [] == report.log
    assert found is not None
    assert body == found["request"]


def test_a_pipe_that_ends_within_a_message_ends_it(file: Path) -> None:
    out = io.BytesIO()
    serve(io.BytesIO((framed(order(file)) + framed(notes(1, noted())))[:-1]), out)

    assert b"" == out.getvalue()


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, None])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(file: Path, damage: bytes | None) -> None:
    reports_of(order(file), notes(1, *(noted() for _ in range(50))))
    whole = file.read_bytes()
    file.write_bytes(damage or whole[:100] + b"\xff" * (len(whole) - 100))

    [report] = reports_of(order(file), notes(1, noted()))

    assert 0 == report.lost
    assert ["error"] == [level for level, _ in report.log]
    assert "set aside" in report.log[0][1]
    assert 1 == count(file)
    assert 1 == len(list(file.parent.glob("requests.db.damaged-*")))


@pytest.mark.parametrize("left", ["", "-wal"])
def test_a_file_that_is_deleted_meanwhile_is_begun_anew(file: Path, left: str) -> None:
    """Also when its journal is still there, which belongs to no file any more."""
    recorder = Recorder(order(file))
    recorder.take(notes(1, noted(), noted()))
    for ending in ("", "-wal", "-shm"):
        if ending != left or not left:
            file.with_name(file.name + ending).unlink()

    report = recorder.take(notes(2, noted("hello whales")))
    recorder.close()

    assert ([3], 0, "ok", []) == (report.stored, report.lost, report.state, report.log)
    assert 1 == count(file)


def test_a_journal_that_is_deleted_meanwhile_loses_nothing(file: Path) -> None:
    recorder = Recorder(order(file))
    recorder.take(notes(1, noted()))
    file.with_name(file.name + "-wal").unlink()

    report = recorder.take(notes(2, noted("hello whales")))

    assert ([2], 0) == (report.stored, report.lost)
    assert 2 == count(file)
    recorder.close()
    assert 2 == count(file)


def test_a_daemon_that_is_gone_is_nothing_to_complain_of(file: Path) -> None:
    """What it had said is stored; on the terminal that both had, nothing appears."""
    program = [sys.executable, "-m", "modelrunner.recorder.process"]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(bytes(framed(order(file)) + framed(notes(1, noted()))), timeout=30)

    assert (0, b"") == (process.returncode, said)
    assert 1 == count(file)


def test_damage_that_a_reader_finds_is_set_aside_once(file: Path) -> None:
    *_, first, second = reports_of(order(file), notes(1, noted()), Damaged(1, 0), Damaged(2, 0))

    assert (1, 1) == (first.file, second.file)
    assert 1 == len(list(file.parent.glob("requests.db.damaged-*")))


def test_numbers_go_on_in_the_file_that_is_begun_after_a_damaged_one(file: Path) -> None:
    """Whoever follows knows by them what is new (a review's C-ids)."""
    reports_of(order(file), notes(1, noted(), noted()))

    *_, report = reports_of(order(file), notes(2, noted()), Store(), Damaged(1, 0), notes(3, noted()))

    assert [4] == report.stored


def test_a_folder_that_cannot_be_made_is_told_once_and_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    first, second = reports_of(
        order(tmp_path / "file" / "requests.db"), notes(1, noted()), Store(), notes(2, noted(), noted())
    )

    assert ("failing", 1, 2) == (first.state, first.lost, second.lost)
    assert (1, 0) == (len(first.log), len(second.log))


def test_a_request_that_breaks_its_reading_is_kept_without_its_bodies(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = read_noted

    def fragile(note: Noted, *rest: Any) -> object:
        if note.body:
            raise ValueError("unforeseen: what is secret")
        return reading(note, *rest)

    monkeypatch.setattr(process, "read_noted", fragile)
    report = Recorder(order(file)).take(notes(1, noted()))

    [(_, told)] = report.log
    assert "not understood" in told
    assert "ValueError at=test_process.py:" in told
    assert "secret" not in told  # what an exception says may be all that was said
    assert [1] == report.stored


def test_it_starts_as_a_program_and_ends_with_its_pipe(file: Path) -> None:
    told = framed(order(file)) + framed(notes(1, noted()))

    done = subprocess.run(
        [sys.executable, "-P", "-m", "modelrunner.recorder.process"],
        input=told,
        capture_output=True,
        timeout=30,
        check=True,
    )

    assert 1 == report_of(done.stdout[LENGTH.size :]).batch
    assert b"" == done.stderr
    assert 1 == count(file)

"""How grave a line is, whoever wrote it."""

import pytest

from modelrunner.telemetry.levels import Grading, as_log_line
from modelrunner.telemetry.tail import Record

STAMP = b"[2026-01-02T03:04:05.000000006Z] "
ENGINE = "llama.cpp-0123456789ab"
KEY = b"llama.cpp/0123456789ab/completion "


def record(text: bytes, source: str = "") -> Record:
    return Record(b"", STAMP + text + b"\n", source)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (b"0.00.008.283 I srv          init: initializing ...", "info"),
        (b"0.00.008.283 W load: special tokens", "warning"),
        (b"1.10.008.283 E srv: failed to load", "error"),
        (b"0.00.008.283 D slot get_availabl", "debug"),
        (b"WARNING 11-28 10:00:00 [config.py:1] slow", "warning"),
        (b"(EngineCore pid=7) ERROR 11-28 10:00:00 [core.py:1] gone", "error"),
        (b"INFO:     Uvicorn running", "info"),
        (b"CRITICAL out of memory", "error"),
        (b"error: could not open the file", "error"),
        (b"Traceback (most recent call last):", "error"),
        (b"llama_context: n_ctx = 4096", "info"),
        (b"\xff\xfe binary", "info"),
        (b"", "info"),
    ],
)
def test_engines_say_it_in_their_ways(text: bytes, level: str) -> None:
    [(_, found)] = Grading().graded([record(KEY + text, ENGINE)])

    assert level == found


def test_the_daemon_says_it_and_a_traceback_belongs_to_the_line_before() -> None:
    lines = [
        record(b'level=INFO logger=a msg="fine"'),
        record(b'level=ERROR logger=a msg="bad"'),
        record(b"Traceback (most recent call last):"),
        record(KEY + b"0.00.008.283 I fine", ENGINE),
        record(b"  File x"),
        record(b'level=WARNING logger=a msg="careful"'),
    ]

    found = [(line.line[len(STAMP) :][:12], level) for line, level in Grading("warning").graded(lines)]

    assert [
        (b"level=ERROR ", "error"),
        (b"Traceback (m", "error"),
        (b"  File x\n", "error"),
        (b"level=WARNIN", "warning"),
    ] == found


def test_a_line_is_taken_apart() -> None:
    ours = as_log_line(record(b'level=INFO logger=a.b msg="said \\"x\\" <b>\\u001b"'), "info", str)
    engine = as_log_line(
        record(KEY + b"hello\x1b[1m", ENGINE), "info", {"0123456789ab": "ai/tiny"}.__getitem__
    )

    assert {
        "at": "2026-01-02T03:04:05.000000006Z",
        "source": "service",
        "level": "info",
        "logger": "a.b",
        "text": 'said "x" <b>\x1b',
    } == ours
    assert ("engine", "llama.cpp", "ai/tiny", "hello\x1b[1m") == (
        engine["source"],
        engine["backend"],
        engine["model"],
        engine["text"],
    )


def test_what_another_program_wrote_is_only_text() -> None:
    line = as_log_line(Record(b"", b"no stamp at all\n", "old"), "info", str)

    assert ("", "no stamp at all") == (line["at"], line["text"])

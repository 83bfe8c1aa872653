"""Progress lines: which are said, how they look, and that they hold nobody up."""

import asyncio
import gc
import html
import json

import pytest

from modelrunner.errors import DigestMismatch, ModelNotFound
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.transfer import Progress, Tell
from modelrunner.server.connection.progress import (
    Throttle,
    encode_escaped,
    encode_plain,
    error_line,
    progress_line,
    reported,
    success_line,
)
from modelrunner.testing.artifacts import make_artifact

MIB = 1 << 20
ARTIFACT = make_artifact(b"x" * (3 * MIB))
LAYER = ARTIFACT.layers[0]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ([(0.0, 0)], [0]),
        ([(0.0, 10), (0.0, 20), (0.0, 30)], [10]),
        ([(0.0, 10), (0.05, 20), (0.1, 30)], [10, 30]),
        ([(0.0, 10), (0.0, 10 + MIB), (0.0, 20 + MIB)], [10, 10 + MIB]),
        ([(0.0, 10), (0.0, 3 * MIB)], [10, 3 * MIB]),
        ([(0.0, 3 * MIB), (1.0, 3 * MIB)], [3 * MIB]),
    ],
)
def test_first_last_and_some_between_are_said(reports: list[tuple[float, int]], said: list[int]) -> None:
    """The first report, the complete one, and others after a tenth of a second or a mebibyte."""
    clock = Clock()
    throttle = Throttle(clock)
    passed = []
    for now, done in reports:
        clock.now = now
        if throttle.lets(Progress(LAYER, done)):
            passed.append(done)

    assert said == passed


def test_a_large_layer_moves_in_hundredths() -> None:
    """A line for each mebibyte of gigabytes would cost both sides more than it shows."""
    throttle = Throttle(Clock())
    large = Descriptor(LAYER.media_type, LAYER.digest, 1000 * MIB)

    assert [0, 10 * MIB, 20 * MIB] == [
        done for done in range(0, 21 * MIB, MIB) if throttle.lets(Progress(large, done))
    ]


def test_lines_have_every_field_in_both_directions() -> None:
    """A pull counts against all layers, a push against this one."""
    pull = progress_line(Progress(LAYER, MIB), "pull", 100 * MIB)
    push = progress_line(Progress(LAYER, MIB), "push", 100 * MIB)

    assert {
        "type": "progress",
        "message": "Downloaded: 1.00 MB",
        "total": 100 * MIB,
        "layer": {"id": str(LAYER.digest), "size": 3 * MIB, "current": MIB},
        "mode": "pull",
    } == pull
    assert ("Uploaded: 1.00 MB", 3 * MIB, "push") == (push["message"], push["total"], push["mode"])


def test_the_last_line_tells_how_it_ended() -> None:
    """Success and error have the same shape; an error adds its code and hint."""
    assert {
        "type": "success",
        "message": "done",
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": "pull",
    } == success_line("done", "pull")
    assert {
        "type": "error",
        "message": "Error: not there",
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": "push",
        "code": "model_not_found",
        "hint": "look elsewhere",
    } == error_line(ModelNotFound("not there", hint="look elsewhere"), "push")


def test_both_encodings_hold_the_same_line() -> None:
    """A client that unescapes the second gets the first."""
    line = success_line('<Tom & Jerry\'s "model">', "pull")

    assert line == json.loads(encode_plain(line))
    assert encode_plain(line).decode() == html.unescape(encode_escaped(line).decode())
    assert encode_escaped(line).startswith(b"{&#34;type&#34;:&#34;success&#34;")


async def test_the_last_report_of_a_layer_is_always_said() -> None:
    """However fast the work is."""

    async def work(tell: Tell) -> None:
        for done in range(0, 3 * MIB + 1, MIB // 4):
            tell(Progress(LAYER, done))

    lines = [line async for line in reported(work, ARTIFACT.content, "pull")]

    assert 3 * MIB == lines[-1]["layer"]["current"]
    assert 3 * MIB == lines[-1]["total"]


async def test_configurations_are_no_layers() -> None:
    """The total is that of the layers, so only they are counted."""

    async def work(tell: Tell) -> None:
        tell(Progress(ARTIFACT.config, ARTIFACT.config.size))

    assert [] == [line async for line in reported(work, ARTIFACT.content, "pull")]


async def test_an_error_comes_after_what_was_told_before_it() -> None:
    """Lines first, then the failure of the work itself."""

    async def work(tell: Tell) -> None:
        tell(Progress(LAYER, 5))
        raise DigestMismatch("wrong bytes")

    lines = reported(work, ARTIFACT.content, "pull")
    assert 5 == (await anext(lines))["layer"]["current"]
    with pytest.raises(DigestMismatch):
        await anext(lines)


async def test_the_work_ends_with_its_reader() -> None:
    """Closing the generator cancels the work and waits until it is over."""
    ended = asyncio.Event()

    async def work(tell: Tell) -> None:
        tell(Progress(LAYER, 5))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lines = reported(work, ARTIFACT.content, "pull")
    await anext(lines)
    await lines.aclose()

    assert ended.is_set()


@pytest.mark.parametrize("late", [False, True])
async def test_what_fails_when_its_reader_has_left_is_no_error_of_the_daemon(
    caplog: pytest.LogCaptureFixture, *, late: bool
) -> None:
    """Before the reader could hear of it, or when it was told to end."""
    go_on = asyncio.Event()

    async def work(tell: Tell) -> None:
        tell(Progress(LAYER, 5))
        try:
            await go_on.wait()
        finally:
            raise DigestMismatch("wrong bytes")

    lines = reported(work, ARTIFACT.content, "pull")
    await anext(lines)
    if not late:
        go_on.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await lines.aclose()
    del lines
    gc.collect()

    assert "" == caplog.text

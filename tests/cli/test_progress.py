"""Progress on terminals and elsewhere."""

import io
from collections.abc import Iterator
from typing import Literal

import pytest

from modelrunner.cli.progress import Bars, Lines, follow, render_bar
from modelrunner.wire.transfers import LayerProgress, ProgressLine

PULL = ("Downloading", "Pull complete")
ID = "sha256:0123456789abcdef"


def _clock(*times: float) -> Iterator[float]:
    yield from times


def _line(
    kind: Literal["progress", "success", "warning"], message: str = "", done: int | None = None
) -> ProgressLine:
    layer = LayerProgress(size=0, current=0) if done is None else LayerProgress(id=ID, size=100, current=done)
    return ProgressLine(type=kind, message=message, total=100, layer=layer, mode="pull")


@pytest.mark.parametrize(
    ("done", "size", "columns", "expected"),
    [
        (0, 100, 80, f"0123456789ab: Waiting       [{' ' * 35}] 0.00B/100.00B"),
        (50, 100, 80, f"0123456789ab: Downloading   [{'=' * 16}>{' ' * 17}] 50.00B/100.00B"),
        (100, 100, 80, "0123456789ab: Pull complete"),
        (5, 0, 80, "0123456789ab: Downloading   5.00B/0.00B"),
        (50, 100, 40, "0123456789ab: Downloading   50.00B/100.00B"[:39]),
    ],
)
def test_a_layer_is_one_line(done: int, size: int, columns: int, expected: str) -> None:
    """Id, state, bar and counters; never wider than the terminal."""
    assert expected == render_bar(ID, done, size, PULL, columns)


def test_bars_are_drawn_in_place() -> None:
    """The cursor goes up over what was drawn, and the end is always shown."""
    stream = io.StringIO()
    clock = _clock(0, 0, 0.01, 9, 9)

    with Bars("pull", stream, lambda: next(clock)) as bars:
        bars.show("sha256:aaaaaaaaaaaaaaaa", 0, 10, 20)
        bars.show("sha256:bbbbbbbbbbbbbbbb", 0, 10, 20)
        bars.show("sha256:aaaaaaaaaaaaaaaa", 10, 10, 20)

    first, second, third = stream.getvalue().split("\x1b[J")
    assert first.endswith("\x1b[1A")
    assert second.startswith("aaaaaaaaaaaa: Pull complete\nbbbbbbbbbbbb: Waiting")
    assert second.endswith("\x1b[2A")
    assert third.count("\n") == 2


def test_plain_lines_come_once_a_second_and_at_the_end() -> None:
    """A log is not flooded, and tells when everything is there."""
    stream = io.StringIO()
    times = _clock(0, 0, 0.1, 0.2, 1.5, 1.5, 1.6, 1.6)

    with Lines("pull", stream, lambda: next(times)) as lines:
        for done in (1, 2, 3, 50, 100):
            lines.show(ID, done, 100, 100)

    assert stream.getvalue().splitlines() == [
        "Downloaded 1.00B of 100.00B",
        "Downloaded 50.00B of 100.00B",
        "Downloaded 100.00B of 100.00B",
    ]


def test_a_plain_line_that_says_nothing_new_is_left_out() -> None:
    """That everything is there is told once, however often it is reported."""
    stream = io.StringIO()

    with Lines("hash", stream, lambda: 0.0) as lines:
        for _ in range(3):
            lines.show(ID, 100, 100, 100)

    assert stream.getvalue().splitlines() == ["Hashed 100.00B of 100.00B"]


def test_a_transfer_is_followed_to_its_success() -> None:
    """Warnings and sentences are shown on the way; the last sentence is handed back."""
    stream = io.StringIO()
    lines = [
        _line("warning", "slow"),
        _line("progress", "Fetching file list..."),
        _line("progress", done=100),
        _line("success", "Model pulled successfully"),
    ]

    message = follow(lines, "pull", stream)

    assert message == "Model pulled successfully"
    assert stream.getvalue().splitlines() == [
        "Warning: slow",
        "Fetching file list...",
        "Downloaded 100.00B of 100.00B",
    ]

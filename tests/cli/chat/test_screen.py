"""An answer while it is written, on lines that a test can look at."""

import re
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from modelrunner.cli.chat.asking import Calling
from modelrunner.cli.chat.screen import Look, Screen
from modelrunner.cli.chat.statistics import Watch
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.client import Piece
from modelrunner.errors import EngineFailed


class Place:
    """Remembers what is settled, and every state of what is not."""

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.current: list[str] = []
        self.states: list[list[str]] = []

    def replace(self, lines: Sequence[str]) -> None:
        self.current = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
        self.states.append([*self.settled, *self.current])

    def settle(self, count: int) -> None:
        self.settled += self.current[:count]
        del self.current[:count]

    def close(self) -> None:
        self.settle(len(self.current))


class Clock:
    """Goes on by as much as a test says with each piece."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _show(
    pieces: Sequence[Piece | Calling | BaseException],
    place: Place,
    thoughts: Thoughts = Thoughts.SHOW,
    width: int = 40,
    hint: str = "",
) -> str:
    clock = Clock()
    watch = Watch(clock)

    def come() -> Iterator[Piece | Calling]:
        for piece in pieces:
            clock.now += 1.0
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, Piece):
                watch.see(piece)
            yield piece

    with Screen(place, Look(lambda: width, False, thoughts, hint), watch, clock) as screen:
        return screen.show(come())


def test_an_answer_appears_word_by_word() -> None:
    """Each piece at once, and finished blocks stay."""
    place = Place()

    text = _show([Piece("# A"), Piece("\n\nfirst"), Piece(" word\n\n"), Piece("second")], place)

    assert text == "# A\n\nfirst word\n\nsecond"
    assert place.states[:2] == [["A"], ["A", "", "first"]]
    assert place.settled == ["A", "", "first word", "", "second"]


@pytest.mark.parametrize(
    ("thoughts", "expected"),
    [
        (Thoughts.SHOW, ["one two", "", "yes"]),
        (Thoughts.FOLD, ["Thought for 2.0 s · ctrl-o shows it", "", "yes"]),
        (Thoughts.HIDE, ["yes"]),
    ],
)
def test_thoughts_are_shown_folded_or_left_out(thoughts: Thoughts, expected: list[str]) -> None:
    """They are no part of the answer."""
    place = Place()

    pieces = [Piece(reasoning="one "), Piece(reasoning="two"), Piece("yes")]
    text = _show(pieces, place, thoughts, hint="ctrl-o shows it")

    assert text == "yes"
    assert expected == place.settled


def test_the_last_thoughts_are_seen_while_they_are_folded() -> None:
    """A few lines of them."""
    place = Place()

    _show([Piece(reasoning=f"line {number}\n") for number in range(9)], place, Thoughts.FOLD)

    assert place.states[-2] == ["line 5", "line 6", "line 7", "line 8"]


def test_thoughts_between_parts_of_an_answer_part_them() -> None:
    """In the order in which they come."""
    place = Place()

    text = _show([Piece("a"), Piece(reasoning="b"), Piece("c")], place)

    assert text == "ac"
    assert place.settled == ["a", "", "b", "", "c"]


def test_what_happens_beside_the_answer_is_told() -> None:
    """Cut to the width, and nothing in it steers the terminal."""
    place = Place()

    _show(
        [Piece(notice="Installing\x1b[2J"), Calling("web_search", '{"q": "%s"}' % ("x" * 50))],
        place,
        width=20,
    )

    assert place.settled[:3] == ["Installing\ufffd[2J", "", "web search: xxxxxxx…"]


@pytest.mark.parametrize("thought", [True, False])
def test_a_model_cannot_steer_the_terminal(thought: bool) -> None:
    """Its escape sequences are visible, and nothing else."""
    place = Place()
    text = "a\x1b[2J\x1b]52;c;eA==\x07b\x9b5n"

    _show([Piece(reasoning=text) if thought else Piece(text)], place)

    assert place.settled == ["a\ufffd[2J\ufffd]52;c;eA==\ufffdb\ufffd5n"]


@pytest.mark.parametrize("end", [EngineFailed("gone"), KeyboardInterrupt()])
def test_what_came_stays_when_the_answer_breaks_off(end: BaseException) -> None:
    """In its final form."""
    place = Place()

    with pytest.raises(type(end)):
        _show([Piece("some **bold"), end], place)

    assert place.settled == ["some **bold"]


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_ends_an_answer_in_order(
    number: signal.Signals, end: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    """What came is whole, the cursor is in sight again, and signals mean what they meant."""
    place = Place()
    before = signal.getsignal(number)
    watch = Watch(time.monotonic)

    def come() -> Iterator[Piece | Calling]:
        yield Piece("some text")
        signal.raise_signal(number)
        yield Piece(" that never comes")

    with pytest.raises(end), Screen(place, Look(lambda: 40), watch) as screen:
        screen.show(come())

    assert place.settled == ["some text"]
    assert capsys.readouterr().out == "\x1b[?25l\x1b[?25h"
    assert signal.getsignal(number) is before


def test_a_spinner_tells_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Also while nothing comes; it is gone at the end."""
    seen = threading.Event()
    watch = Watch(time.monotonic)

    class Telling(Place):
        def replace(self, lines: Sequence[str]) -> None:
            super().replace(lines)
            if any("waiting" in line for line in lines):
                seen.set()

    place = Telling()

    def come() -> Iterator[Piece | Calling]:
        assert seen.wait(10)
        yield Piece("done")

    with Screen(place, Look(lambda: 40), watch) as screen:
        screen.show(come())

    assert any("ctrl-c stops" in line for state in place.states for line in state)
    assert place.settled == ["done"]

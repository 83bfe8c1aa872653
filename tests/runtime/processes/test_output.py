"""Chunks of bytes into lines, and the last few of these."""

from hypothesis import given
from hypothesis import strategies as st

from modelrunner.runtime.processes.output import Splitter, Tail


def split(splitter: Splitter, *chunks: bytes) -> list[str]:
    return [line for chunk in chunks for line in splitter.feed(chunk)]


@given(st.lists(st.text(alphabet="ab é", max_size=5)), st.integers(1, 4))
def test_lines_do_not_depend_on_how_they_arrive(lines: list[str], size: int) -> None:
    """Any cut of the same bytes, even within a character, gives the same lines."""
    data = "".join(f"{line}\n" for line in lines).encode()

    assert lines == split(Splitter(), *(data[i : i + size] for i in range(0, len(data), size)))


def test_a_line_is_complete_with_its_end() -> None:
    """What has begun waits for the rest."""
    splitter = Splitter()

    assert ["one"] == split(splitter, b"one\ntw")
    assert ["two"] == split(splitter, b"o\n")


def test_flushing_gives_what_has_begun() -> None:
    """A last line needs no end."""
    splitter = Splitter()
    split(splitter, b"one\ntwo")

    assert splitter.flush() == "two"
    assert splitter.flush() == ""


def test_both_kinds_of_line_ends_are_dropped() -> None:
    """A carriage return belongs to the end of the line."""
    assert ["one", "two"] == split(Splitter(), b"one\r\ntwo\n")


def test_a_long_line_is_cut() -> None:
    """However long it is, and in however many pieces it comes, no more than the limit is kept."""
    assert ["abcd", "x"] == split(Splitter(limit=4), b"abc", b"def", b"g" * 100, b"\nx\n")


def test_bytes_that_are_no_text_are_replaced() -> None:
    """Nothing that an engine writes can stop the reading."""
    assert ["a\ufffdb"] == split(Splitter(), b"a\xffb\n")


def test_the_tail_keeps_the_last_lines() -> None:
    """Bounded in number."""
    tail = Tail(lines=2)
    for line in ("one", "two", "", "three"):
        tail.add(line)

    assert tail.text == "two\nthree"


def test_the_tail_is_bounded_in_bytes() -> None:
    """Whole lines, as many as fit."""
    tail = Tail(size=10)
    for line in ("aaaa", "bbbb", "cccc"):
        tail.add(line)

    assert tail.text == "bbbb\ncccc"[-10:]


def test_the_tail_shows_the_end_of_a_line_that_is_too_long() -> None:
    """Rather than nothing."""
    tail = Tail(size=4)
    tail.add("abcdef")

    assert tail.text == "cdef"

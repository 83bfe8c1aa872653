"""The file is bounded by age and by size, and what is forgotten is gone from it."""

from pathlib import Path

from modelrunner.recorder.database import open_to_read, open_to_write, pages
from modelrunner.recorder.searching import page
from modelrunner.recorder.values import Filter
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import entry

AT = 1_800_000_000.0


def left(file: Path) -> list[int]:
    return [each["id"] for each in page(open_to_read(file), Filter(), 1000)["requests"]]


def test_what_is_too_old_goes(file: Path) -> None:
    connection = open_to_write(file)
    writing = Writing(connection, limit=1 << 30, lifetime=60, clock=lambda: AT + 100)
    writing.store([entry(at=AT), entry(at=AT + 50)])

    assert 1 == writing.trim()

    assert [2] == left(file)
    connection.close()


def test_the_oldest_make_room(file: Path) -> None:
    connection = open_to_write(file)
    writing = Writing(connection, limit=1 << 20, lifetime=1e9)
    for _ in range(10):
        writing.store([entry("x" * 5000) for _ in range(60)])
        writing.trim()

    used, free, size = pages(connection)
    assert (used - free) * size <= 1 << 20
    assert 600 == left(file)[0]
    assert 20 < len(left(file)) < 600
    connection.close()


def test_what_is_forgotten_is_found_no_more_nor_is_it_in_the_file(writing: Writing, file: Path) -> None:
    writing.store([entry("my unique-secret-word"), entry("something else")])

    assert 1 == writing.forget(Filter(ids=(1,)))

    assert [] == page(open_to_read(file), Filter(words="unique"), 5)["requests"]
    assert [2] == left(file)
    assert b"unique-secret-word" not in file.read_bytes()


def test_numbers_are_never_given_twice(writing: Writing) -> None:
    writing.store([entry()])
    writing.forget(Filter())

    assert [2] == writing.store([entry()])

"""The file is bounded by age and by size, and what is forgotten is gone from it."""

import secrets
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

    assert 1 == sum(writing.trim())

    assert [2] == left(file)
    connection.close()


def test_the_oldest_make_room(file: Path) -> None:
    connection = open_to_write(file)
    writing = Writing(connection, limit=1 << 20, lifetime=1e9)
    for _ in range(10):
        writing.store([entry("x" * 5000) for _ in range(60)])
        list(writing.trim())

    used, free, size = pages(connection)
    assert (used - free) * size <= 1 << 20
    assert 600 == left(file)[0]
    assert 20 < len(left(file)) < 600
    connection.close()


def words(count: int) -> str:
    """A text of which nothing was said before."""
    return " ".join(secrets.token_hex(5) for _ in range(count))


def test_small_new_ones_stay_where_large_old_ones_make_room(file: Path) -> None:
    """Also when the large are gone from the table only, and in the index still (a review's A1)."""
    connection = open_to_write(file)
    writing = Writing(connection, limit=4 << 20, lifetime=1e9)
    large = writing.store(entry(words(30_000)) for _ in range(20))
    small = writing.store(entry(words(5)) for _ in range(40))

    gone = sum(writing.trim())

    assert small == left(file)[:40][::-1]
    assert 0 < len(large) - gone < 6
    count, _, size = pages(connection)
    assert count * size <= 4 << 20
    connection.close()


def test_no_more_goes_than_has_to(file: Path) -> None:
    connection = open_to_write(file)
    writing = Writing(connection, limit=2 << 20, lifetime=1e9)
    while not writing.store(entry(words(50)) for _ in range(10)) or not (gone := sum(writing.trim())):
        pass

    assert gone < (gone + len(left(file))) / 8
    connection.close()


def test_words_of_what_was_too_old_leave_the_index(file: Path) -> None:
    connection = open_to_write(file)
    writing = Writing(connection, limit=1 << 30, lifetime=60, clock=lambda: AT + 100)
    writing.store([entry("my unique-secret-word", at=AT)])
    writing.store([entry(at=AT + 50)])

    list(writing.trim())

    index = connection.execute("SELECT group_concat(hex(block)) FROM words_data").fetchone()[0]
    assert b"unique".hex().upper() not in index
    connection.close()


def test_all_that_is_forgotten_gives_its_room_back(writing: Writing, file: Path) -> None:
    """However much it was (a review's C-vacuum)."""
    writing.store(entry(words(100_000)) for _ in range(8))
    assert 16 << 20 < file.stat().st_size + file.with_name(file.name + "-wal").stat().st_size

    writing.forget(Filter())

    assert file.stat().st_size < 1 << 19


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

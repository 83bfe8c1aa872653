from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelrunner.oci.chunks import Span, united
from modelrunner.store.journal import Journal, boot, parse, read

SPANS = st.lists(
    st.tuples(st.integers(0, 999), st.integers(1, 1000)).map(lambda pair: Span(pair[0], pair[0] + pair[1])),
    max_size=20,
)


@given(SPANS, st.integers(0, 5000))
def test_a_journal_that_is_cut_anywhere_says_less_and_nothing_wrong(spans: list[Span], cut: int) -> None:
    """A kill in the middle of a line costs that line."""
    lines = [b"modelrunner-journal 1 2000 abc\n", *(b"+ %d %d\n" % span for span in spans)]
    raw = b"".join(lines)[:cut]
    record = parse(raw)

    whole = 0
    while whole < len(lines) and len(b"".join(lines[: whole + 1])) <= len(raw):
        whole += 1
    assert (None if whole == 0 else tuple(spans[: whole - 1])) == (record and record.written)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    """What makes no sense ends the reading."""
    record = parse(b"modelrunner-journal 1 100 abc\n+ 0 10\n" + raw)

    assert record is not None
    assert Span(0, 10) == record.written[0]
    assert all(0 <= span.start < span.stop <= 100 for span in record.written)


def test_after_a_crash_of_the_system_only_what_reached_the_disk_counts() -> None:
    """Another run of the system is known by its boot id; one without an id is never trusted."""
    record = parse(b"modelrunner-journal 1 100 abc\n+ 0 10\n+ 50 60\n= 1\n+ 10 20\n")
    assert record is not None

    assert (Span(0, 20), Span(50, 60)) == record.present("abc")
    assert (Span(0, 10),) == record.present("def")
    assert (Span(0, 10),) == record.present("")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Through a file, with what was there before."""
    path = tmp_path / "x.journal"
    journal = Journal(path, 100, (Span(0, 10),))
    journal.wrote(Span(20, 30))
    journal.synced(journal.count)
    journal.wrote(Span(10, 20))
    journal.close()

    record = read(path)
    assert record is not None
    assert (Span(0, 30),) == united(record.written)
    assert 2 == record.synced
    assert boot() == record.boot
    assert [path] == list(tmp_path.iterdir())


def test_no_file_is_no_journal(tmp_path: Path) -> None:
    """And not an error."""
    assert read(tmp_path / "none") is None

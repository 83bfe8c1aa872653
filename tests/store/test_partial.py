"""The partial file of a blob: what of it counts, and when it gets its name."""

import threading
from pathlib import Path

import pytest

from modelrunner.errors import DigestMismatch, StoreError
from modelrunner.oci.chunks import Span, Spans
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.journal import JOURNAL, Journal
from modelrunner.store.partial import SUFFIX, Partial, present_spans

CONTENT = b"0123456789" * 10
BLOB = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))


@pytest.fixture
def final(tmp_path: Path) -> Path:
    """Where the blob is to be."""
    return tmp_path / BLOB.digest.hex


def _leave(final: Path, content: bytes, size: int | None = None, spans: Spans = ()) -> Path:
    """Leave a partial file as an earlier attempt did, with a journal of so many bytes if there was one."""
    path = final.with_name(f"{final.name}{SUFFIX}")
    path.write_bytes(content)
    if size is not None:
        Journal(path.with_name(f"{path.name}{JOURNAL}"), size, spans).close()
    return path


@pytest.mark.parametrize(
    ("content", "size", "spans", "present"),
    [
        (CONTENT[:30], None, (), (Span(0, 30),)),
        (b"", None, (), ()),
        (CONTENT, None, (), (Span(0, 100),)),
        (CONTENT + b"x", None, (), ()),
        (CONTENT, 100, (Span(0, 10), Span(50, 60)), (Span(0, 10), Span(50, 60))),
        (CONTENT[:55], 100, (Span(0, 10), Span(50, 60)), (Span(0, 10), Span(50, 55))),
        (CONTENT[:40], 100, (Span(0, 10), Span(50, 60)), (Span(0, 10),)),
        (CONTENT, 90, (Span(0, 10),), ()),
        (CONTENT, 110, (Span(0, 10),), ()),
    ],
)
def test_what_an_earlier_attempt_left_counts_as_far_as_it_can(
    final: Path, content: bytes, size: int | None, spans: Spans, present: Spans
) -> None:
    """Never more than the file holds; nothing of a file that is too long, or a journal of another size."""
    assert present == present_spans(_leave(final, content, size, spans), len(CONTENT))


def test_no_file_is_nothing(final: Path) -> None:
    assert () == present_spans(final, 100)


def test_a_whole_blob_gets_its_name_and_is_read_only(final: Path) -> None:
    """Nothing else is left beside it."""
    partial = Partial(BLOB, final)

    partial.start(0)
    partial.append([CONTENT[:40], CONTENT[40:]])
    partial.finish()

    assert CONTENT == final.read_bytes()
    assert 0o444 == final.stat().st_mode & 0o777
    assert [final] == list(final.parent.iterdir())


def test_what_is_missing_is_gone_on_with(final: Path) -> None:
    """It is not named before it is whole."""
    first, second = Partial(BLOB, final), Partial(BLOB, final)
    first.start(0)
    first.append([CONTENT[:40]])
    with pytest.raises(StoreError, match="ended after 40 of 100 bytes"):
        first.finish()
    first.close()

    offset = second.resume(threading.Event())
    second.start(offset)
    second.append([CONTENT[offset:]])
    second.finish()

    assert offset == 40
    assert CONTENT == final.read_bytes()


@pytest.mark.parametrize("extra", [b"x", b"x" * 4096])
def test_bytes_that_another_program_wrote_behind_ours_are_no_blob(final: Path, extra: bytes) -> None:
    """What was hashed is right; the file is not, and is deleted."""
    partial = Partial(BLOB, final)
    partial.start(0)
    partial.append([CONTENT])
    with final.with_name(f"{final.name}{SUFFIX}").open("ab") as other:
        other.write(extra)

    with pytest.raises(DigestMismatch):
        partial.finish()

    assert [] == list(final.parent.iterdir())


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", b"x" * 100])
def test_other_bytes_are_no_blob(final: Path, content: bytes) -> None:
    """Neither as they come, nor as an earlier attempt left them."""
    partial, left = Partial(BLOB, final), Partial(BLOB, final)
    partial.start(0)
    partial.append([content])
    with pytest.raises(DigestMismatch):
        partial.finish()

    _leave(final, content)

    assert 0 == left.resume(threading.Event())
    assert [] == list(final.parent.iterdir())


def test_more_bytes_than_the_manifest_says_are_refused_before_they_are_written(final: Path) -> None:
    """Nothing is kept of them."""
    partial = Partial(BLOB, final)
    partial.start(0)

    with pytest.raises(DigestMismatch, match="longer than the 100 bytes"):
        partial.append([CONTENT, b"x"])

    assert [] == list(final.parent.iterdir())


@pytest.mark.parametrize("offset", [1, 39, 41, 100])
def test_no_byte_is_left_out_or_written_twice(final: Path, offset: int) -> None:
    """But a source may start again from nothing."""
    _leave(final, CONTENT[:40])
    partial = Partial(BLOB, final)
    partial.resume(threading.Event())

    with pytest.raises(StoreError, match=f"goes on at byte 40, not at {offset}"):
        partial.start(offset)
    partial.start(0)
    partial.append([CONTENT])
    partial.finish()

    assert CONTENT == final.read_bytes()

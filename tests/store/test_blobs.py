"""Bytes by digest."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelrunner.errors import DigestMismatch, InsufficientStorage, StoreError
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.store.blobs import Blobs
from modelrunner.store.locks import Turns
from modelrunner.testing.artifacts import stream

CONTENT = bytes(range(256)) * 40
BLOB = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", Turns(tmp_path / ".locks"))


def _partial(blobs: Blobs, blob: Descriptor = BLOB) -> Path:
    path = blobs.path(blob.digest)
    return path.with_name(f"{path.name}.incomplete")


def _leave_partial(blobs: Blobs, data: bytes, blob: Descriptor = BLOB) -> Path:
    path = _partial(blobs, blob)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


async def _write(blobs: Blobs, *chunks: bytes, blob: Descriptor = BLOB) -> int:
    async with blobs.claim(blob) as done:
        await blobs.write(blob, done, stream(*chunks))
        return done


def _files(blobs: Blobs) -> list[str]:
    return sorted(path.name for path in blobs.directory.rglob("*") if path.is_file())


async def test_a_blob_appears_whole(blobs: Blobs) -> None:
    """It has its bytes, cannot be changed, and nothing else is left."""
    await _write(blobs, CONTENT[:1000], CONTENT[1000:])

    path = blobs.path(BLOB.digest)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (CONTENT, 0o444)
    assert _files(blobs) == [BLOB.digest.hex]


async def test_a_blob_is_invisible_while_it_arrives(blobs: Blobs) -> None:
    """Its bytes are beside its place, where the reference looks for them too."""
    seen: list[list[str]] = []

    async def chunks() -> AsyncIterator[bytes]:
        yield CONTENT[:1]
        seen.append(_files(blobs))
        yield CONTENT[1:]

    async with blobs.claim(BLOB):
        await blobs.write(BLOB, 0, chunks())

    assert seen == [[f"{BLOB.digest.hex}.incomplete"]]


async def test_a_complete_blob_is_claimed_at_its_size(blobs: Blobs) -> None:
    """Nothing is to be written, and writing nothing is harmless."""
    await _write(blobs, CONTENT)

    async with blobs.claim(BLOB) as done:
        assert done == BLOB.size


async def test_other_bytes_are_refused(blobs: Blobs) -> None:
    """Neither a blob nor a partial file stays."""
    with pytest.raises(DigestMismatch, match="blob digest mismatch"):
        await _write(blobs, bytes(len(CONTENT)))

    assert _files(blobs) == []


async def test_more_bytes_than_announced_are_refused(blobs: Blobs) -> None:
    """An endless stream does not fill the disk."""
    with pytest.raises(DigestMismatch, match="longer than"):
        await _write(blobs, CONTENT, b"!")

    assert _files(blobs) == []


async def test_fewer_bytes_than_announced_are_kept(blobs: Blobs) -> None:
    """The next attempt goes on where this one ended."""
    with pytest.raises(StoreError, match="ended after 100 of"):
        await _write(blobs, CONTENT[:100])

    assert await _write(blobs, CONTENT[100:]) == 100
    assert blobs.path(BLOB.digest).read_bytes() == CONTENT


async def test_a_source_that_breaks_off_leaves_what_came(blobs: Blobs) -> None:
    """Even what had not been written yet is written."""

    async def breaking() -> AsyncIterator[bytes]:
        yield CONTENT[:10]
        raise ConnectionResetError

    async with blobs.claim(BLOB) as done:
        with pytest.raises(ConnectionResetError):
            await blobs.write(BLOB, done, breaking())

    assert _partial(blobs).read_bytes() == CONTENT[:10]


async def test_a_cancelled_write_leaves_what_came(blobs: Blobs) -> None:
    """The partial file stays, the claim is free, and the next one continues."""
    started = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield CONTENT[:10]
        started.set()
        await asyncio.Event().wait()

    async def pull() -> None:
        async with blobs.claim(BLOB) as done:
            await blobs.write(BLOB, done, hanging())

    task = asyncio.create_task(pull())
    await started.wait()
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()
    assert await _write(blobs, CONTENT[10:]) == 10


async def test_within_one_claim_writing_can_go_on(blobs: Blobs) -> None:
    """A source that failed in the middle may be asked again from where it stopped."""
    async with blobs.claim(BLOB):
        with pytest.raises(StoreError):
            await blobs.write(BLOB, 0, stream(CONTENT[:100]))
        await blobs.write(BLOB, 100, stream(CONTENT[100:]))

    assert blobs.size(BLOB.digest) == BLOB.size


async def test_within_one_claim_writing_can_start_again(blobs: Blobs) -> None:
    """A source without ranges is taken from the beginning; the bytes from before do not count."""
    _leave_partial(blobs, b"wrong")

    async with blobs.claim(BLOB) as done:
        await blobs.write(BLOB, 0, stream(CONTENT))

    assert (done, blobs.size(BLOB.digest)) == (5, BLOB.size)


async def test_a_gap_is_refused(blobs: Blobs) -> None:
    """Bytes that would leave a hole, or be there twice, are not written."""
    async with blobs.claim(BLOB):
        with pytest.raises(StoreError, match="goes on at byte 0, not at 7"):
            await blobs.write(BLOB, 7, stream(CONTENT[7:]))


async def test_writing_needs_a_claim(blobs: Blobs) -> None:
    """Nobody writes beside the claim."""
    with pytest.raises(StoreError, match="without a claim"):
        await blobs.write(BLOB, 0, stream(CONTENT))


async def test_writing_after_the_end_changes_nothing(blobs: Blobs) -> None:
    """A blob that is complete stays as it is, whatever its claimant still sends."""
    async with blobs.claim(BLOB):
        await blobs.write(BLOB, 0, stream(CONTENT))
        await blobs.write(BLOB, BLOB.size, stream())

    assert blobs.path(BLOB.digest).read_bytes() == CONTENT


async def test_a_partial_file_that_is_complete_becomes_the_blob(blobs: Blobs) -> None:
    """A pull that was killed before the last step is not repeated."""
    _leave_partial(blobs, CONTENT)

    async with blobs.claim(BLOB) as done:
        assert done == BLOB.size
    assert _files(blobs) == [BLOB.digest.hex]


@pytest.mark.parametrize("data", [bytes(len(CONTENT)), CONTENT + b"!"])
async def test_a_partial_file_that_cannot_become_the_blob_is_deleted(blobs: Blobs, data: bytes) -> None:
    """As large and wrong, or too large: the download starts again (distribution 10.A12)."""
    _leave_partial(blobs, data)

    assert await _write(blobs, CONTENT) == 0


async def test_a_damaged_partial_file_is_found_out_at_the_end(blobs: Blobs) -> None:
    """It is deleted then, so that the next attempt starts from nothing."""
    _leave_partial(blobs, b"wrong")

    with pytest.raises(DigestMismatch):
        await _write(blobs, CONTENT[5:])
    assert await _write(blobs, CONTENT) == 0


async def test_an_empty_blob_is_made_by_claiming_it(blobs: Blobs) -> None:
    """There is nothing to write, yet the file must exist."""
    empty = Descriptor("text/plain", Digest.of(b""), 0)

    async with blobs.claim(empty) as done:
        assert done == 0

    assert blobs.path(empty.digest).read_bytes() == b""


async def test_a_blob_cannot_be_claimed_to_be_empty(blobs: Blobs) -> None:
    """A size of nothing with a digest of something is a lie."""
    with pytest.raises(DigestMismatch):
        async with blobs.claim(Descriptor("text/plain", BLOB.digest, 0)):
            pass

    assert _files(blobs) == []


async def test_a_damaged_blob_is_replaced(blobs: Blobs) -> None:
    """A file that a crash or another program cut short does not pass for the blob."""
    path = blobs.path(BLOB.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])

    assert await _write(blobs, CONTENT) == 0
    assert path.read_bytes() == CONTENT


async def test_a_small_damaged_blob_is_found_out_at_the_same_size(blobs: Blobs) -> None:
    """Configurations are hashed again, which costs nothing, so that pulling repairs them."""
    path = blobs.path(BLOB.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(len(CONTENT)))

    assert await _write(blobs, CONTENT) == 0


async def test_a_wrong_manifest_does_not_delete_a_good_blob(blobs: Blobs) -> None:
    """Somebody who publishes a wrong size cannot take other models' bytes away."""
    await _write(blobs, CONTENT)

    with pytest.raises(DigestMismatch, match="but the manifest says 3"):
        async with blobs.claim(Descriptor("x", BLOB.digest, 3)):
            pass
    assert blobs.size(BLOB.digest) == BLOB.size


async def test_a_digest_wanted_twice_is_written_once(blobs: Blobs) -> None:
    """The second one waits for the claim and finds the blob complete."""
    started, release, order = asyncio.Event(), asyncio.Event(), list[str]()

    async def slow() -> AsyncIterator[bytes]:
        started.set()
        await release.wait()
        yield CONTENT

    async def first() -> None:
        async with blobs.claim(BLOB) as done:
            await blobs.write(BLOB, done, slow())
            order.append("first")

    async def second() -> int:
        await started.wait()
        async with blobs.claim(BLOB) as done:
            order.append("second")
            return done

    tasks = asyncio.gather(first(), second())
    await started.wait()
    release.set()

    assert (await tasks)[1] == BLOB.size
    assert order == ["first", "second"]


async def test_sha512_has_a_place_of_its_own(blobs: Blobs) -> None:
    """The algorithm is part of the path and of the verification."""
    digest = Digest("sha512", hashlib.sha512(CONTENT).hexdigest())
    blob = Descriptor("x", digest, len(CONTENT))

    await _write(blobs, CONTENT, blob=blob)

    assert blobs.path(digest).parent.name == "sha512"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
async def test_a_full_disk_keeps_what_came(blobs: Blobs) -> None:
    """The error has the figures, and the partial file is not thrown away."""
    path = _partial(blobs)
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/full")

    with pytest.raises(InsufficientStorage, match=r"10\.24kB needed"):
        await _write(blobs, CONTENT)
    assert path.is_symlink()


async def test_reading_gives_a_part(blobs: Blobs) -> None:
    """From a position, up to another, or to the end."""
    await _write(blobs, CONTENT)

    parts = []
    for start, stop in ((0, None), (100, 200), (len(CONTENT), None)):
        async with blobs.open(BLOB, start, stop) as (position, chunks):
            parts.append((position, b"".join([chunk async for chunk in chunks])))

    assert parts == [(0, CONTENT), (100, CONTENT[100:200]), (len(CONTENT), b"")]


async def test_reading_a_large_blob_comes_in_pieces(blobs: Blobs) -> None:
    """Four megabytes are never in memory at once."""
    content = os.urandom(3_000_000)
    blob = Descriptor("x", Digest.of(content), len(content))
    await _write(blobs, *(content[i : i + 65536] for i in range(0, len(content), 65536)), blob=blob)

    async with blobs.open(blob) as (_, chunks):
        pieces = [chunk async for chunk in chunks]

    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 1024 * 1024


async def test_reading_what_is_not_here(blobs: Blobs) -> None:
    """A blob that is missing, or has another size, is not sent to anybody."""
    with pytest.raises(StoreError, match="is missing"):
        async with blobs.open(BLOB):
            pass
    await _write(blobs, CONTENT)
    with pytest.raises(StoreError, match="instead of 5"):
        async with blobs.open(Descriptor("x", BLOB.digest, 5)):
            pass


async def test_missing_bytes_do_not_count_what_is_here(blobs: Blobs) -> None:
    """Complete blobs and partial files are present already."""
    other = Descriptor("x", Digest.of(b"other"), 5)
    before = blobs.missing_bytes([BLOB, other])
    _leave_partial(blobs, CONTENT[:240])
    during = blobs.missing_bytes([BLOB, other])
    await _write(blobs, CONTENT[240:])

    assert [before, during, blobs.missing_bytes([BLOB, other])] == [10245, 10005, 5]

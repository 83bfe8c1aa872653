import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelrunner.errors import DigestMismatch, InvalidRequest, RegistryError, StoreError, TransferInterrupted
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import Progress, copy, read_blob
from modelrunner.testing.artifacts import Artifact, make_artifact, stream

TAG = parse_reference("ai/m:v1")


class Source:
    """An artifact that notes what is opened, gives small pieces, and may misbehave."""

    def __init__(self, artifact: Artifact, piece: int = 4) -> None:
        self.artifact = artifact
        self.opened: list[tuple[Digest, int]] = []
        self.ranges = True
        self.piece = piece
        self.entered = asyncio.Event()
        self.crowd = 1
        self.gate: asyncio.Event | None = None
        self.at_once = self.most_at_once = 0

    async def manifest(self, reference: Any) -> Any:
        return self.artifact.content

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        self.opened.append((blob.digest, start))
        self.at_once += 1
        if self.at_once == self.crowd:
            self.entered.set()
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            start = start if self.ranges else 0
            content = self.artifact.contents[blob.digest][start:stop]
            pieces = [content[at : at + self.piece] for at in range(0, len(content), self.piece)]
            yield start, stream(*pieces)
        finally:
            self.at_once -= 1


async def test_every_blob_arrives_before_the_manifest_and_its_tags(memory: Any) -> None:
    """Layers and configuration, then the commit."""
    artifact = make_artifact(b"first layer", b"second layer")

    await copy(Source(artifact), memory, artifact.content, [TAG])

    assert memory.blobs == artifact.contents
    assert memory.committed == [(artifact.content, (TAG,))]


async def test_a_blob_goes_on_where_the_sink_has_it_to(memory: Any) -> None:
    """Only the rest is asked for."""
    artifact = make_artifact(b"0123456789")
    (layer,) = artifact.layers
    memory.partial[layer.digest] = b"0123"
    source = Source(artifact)

    await copy(source, memory, artifact.content, [])

    assert (layer.digest, 4) in source.opened
    assert memory.blobs[layer.digest] == b"0123456789"


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 100])
async def test_a_source_without_ranges_is_read_past_what_is_there(memory: Any, piece: int) -> None:
    """It starts at 0, and the bytes that are present already are skipped, wherever the pieces end."""
    artifact = make_artifact(b"0123456789")
    (layer,) = artifact.layers
    memory.partial[layer.digest] = b"0123"
    source = Source(artifact, piece)
    source.ranges = False

    await copy(source, memory, artifact.content, [])

    assert memory.blobs[layer.digest] == b"0123456789"


async def test_blobs_that_are_there_move_nothing_and_tell_nothing(memory: Any) -> None:
    """Not even a line of progress."""
    artifact = make_artifact(b"layer")
    memory.blobs.update(artifact.contents)
    source, told = Source(artifact), list[Progress]()

    await copy(source, memory, artifact.content, [TAG], tell=told.append)

    assert (source.opened, told) == ([], [])
    assert len(memory.committed) == 1


async def test_an_empty_blob_is_there_as_soon_as_it_is_claimed(memory: Any) -> None:
    """The sink makes it; no source is needed."""
    artifact = make_artifact(b"")

    await copy(Source(artifact), memory, artifact.content, [])

    assert memory.blobs == artifact.contents


async def test_progress_grows_from_where_it_was_to_the_whole(memory: Any) -> None:
    """The size of the blob is told once, at the end, when it has been verified."""
    artifact = make_artifact(b"0123456789")
    (layer,) = artifact.layers
    memory.partial[layer.digest] = b"01"
    told: list[Progress] = []

    await copy(Source(artifact), memory, artifact.content, [], tell=told.append)

    assert [each.done for each in told if each.blob == layer] == [6, 10]


async def test_a_wrong_blob_is_never_told_as_complete(memory: Any) -> None:
    """Its last line says less than its size, and nothing is committed."""
    artifact = make_artifact(b"0123456789")
    (layer,) = artifact.layers
    wrong = Artifact(artifact.content, {**artifact.contents, layer.digest: b"012345678X"})
    told: list[Progress] = []

    with pytest.raises(DigestMismatch):
        await copy(Source(wrong), memory, artifact.content, [TAG], tell=told.append)

    assert max(each.done for each in told if each.blob == layer) < layer.size
    assert memory.committed == []


async def test_a_limited_number_of_blobs_move_at_once(memory: Any) -> None:
    """`parallel` is kept."""
    artifact = make_artifact(*(f"layer {number}".encode() for number in range(10)))
    source = Source(artifact)
    source.gate, source.crowd = asyncio.Event(), 3
    task = asyncio.create_task(copy(source, memory, artifact.content, [], parallel=3))
    await source.entered.wait()

    source.gate.set()
    await task

    assert source.most_at_once == 3
    assert len(source.opened) == 11


async def test_the_first_failure_comes_out_alone(memory: Any) -> None:
    """Never a group of exceptions; the other blobs are called off."""
    artifact = make_artifact(b"good", b"bad")
    bad = artifact.layers[1].digest
    source = Source(artifact)
    source.gate = asyncio.Event()

    @asynccontextmanager
    async def fail(
        blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        if blob.digest == bad:
            raise StoreError("broken")
        async with Source.open(source, blob, start, stop) as opened:
            yield opened

    source.open = fail  # type: ignore[method-assign] # a source that fails for one blob

    with pytest.raises(StoreError, match="broken"):
        await copy(source, memory, artifact.content, [TAG])
    assert source.at_once == 0
    assert memory.committed == []


async def test_a_copy_that_is_called_off_lets_go_of_everything(memory: Any) -> None:
    """Cancellation ends the transfers, and publishes nothing."""
    artifact = make_artifact(b"layer")
    source = Source(artifact)
    source.gate = asyncio.Event()
    task = asyncio.create_task(copy(source, memory, artifact.content, [TAG]))
    await source.entered.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.at_once == 0
    assert memory.committed == []


async def test_what_a_sink_lost_on_the_way_is_sent_again(memory: Any) -> None:
    """An interrupted push opens the source anew, after a new claim."""
    artifact = make_artifact(b"layer")
    (layer,) = artifact.layers
    source = Source(artifact)
    failures = 2
    write = memory.write

    async def lose(blob: Descriptor, offset: int, chunks: AsyncIterator[bytes]) -> None:
        nonlocal failures
        if blob == layer and failures:
            failures -= 1
            await anext(chunks)
            raise TransferInterrupted("lost")
        await write(blob, offset, chunks)

    memory.write = lose

    await copy(source, memory, artifact.content, [], retry=RetryPolicy(first=0.0))

    assert memory.blobs == artifact.contents
    assert memory.claims.count(layer.digest) == 3


async def test_a_sink_that_always_loses_is_given_up(memory: Any) -> None:
    """After as many tries as the policy allows."""
    artifact = make_artifact(b"layer")

    async def lose(blob: Descriptor, offset: int, chunks: AsyncIterator[bytes]) -> None:
        raise TransferInterrupted("lost")

    memory.write = lose

    with pytest.raises(TransferInterrupted):
        await copy(
            Source(artifact), memory, artifact.content, [], retry=RetryPolicy(breaks=2, first=0.0), parallel=1
        )
    assert len(memory.claims) == 2


async def test_a_source_that_starts_too_late_is_refused(memory: Any) -> None:
    """A gap would be a wrong blob."""
    artifact = make_artifact(b"0123456789")

    class Late(Source):
        @asynccontextmanager
        async def open(
            self, blob: Descriptor, start: int = 0, stop: int | None = None
        ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
            yield start + 1, stream(b"")

    with pytest.raises(RegistryError, match="starts at byte 1 instead of 0"):
        await copy(Late(artifact), memory, artifact.content, [])


async def test_a_small_blob_is_read_and_verified() -> None:
    """A configuration, for example."""
    artifact = make_artifact(b"layer")

    assert (
        await read_blob(Source(artifact), artifact.config, limit=1000)
        == artifact.contents[artifact.config.digest]
    )


async def test_a_large_or_wrong_blob_is_not_read_into_memory() -> None:
    """The limit holds before a byte is asked for, the digest before a byte is handed out."""
    artifact = make_artifact(b"layer")
    wrong = Artifact(artifact.content, {artifact.config.digest: b"x" * artifact.config.size})

    with pytest.raises(InvalidRequest, match="larger than"):
        await read_blob(Source(artifact), artifact.config, limit=artifact.config.size - 1)
    with pytest.raises(DigestMismatch):
        await read_blob(Source(wrong), artifact.config, limit=1000)

"""Pushing, on real sockets, to a registry that can be told to do wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from modelrunner.errors import InvalidRequest, RegistryError, StoreError, TransferInterrupted, Unauthorized
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import Progress, copy
from modelrunner.testing.artifacts import Artifact, make_artifact, stream
from modelrunner.testing.registry import Access, FakeRegistry, answer, refuse
from modelrunner.testing.serving import serving

LAYER = bytes(range(256)) * 4000  # 1,024,000 bytes
ARTIFACT = make_artifact(LAYER, b"second layer")
REPOSITORY = "team/model"
IMPATIENT = RetryPolicy(first=0.0, tries=3, breaks=3, connects=2)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


async def _push(
    client: Any, fake: FakeRegistry, *tags: str, artifact: Artifact = ARTIFACT, **options: Any
) -> list[Progress]:
    told: list[Progress] = []
    async with serving(fake) as url, client.open(retry=IMPATIENT, **options) as registry:
        references = [client.reference(url, f"{REPOSITORY}:{tag}") for tag in tags]
        sink = registry.repository(client.reference(url))
        await copy(artifact, sink, artifact.content, references, tell=told.append, retry=IMPATIENT)
    return told


async def test_a_push_stores_blobs_first_and_then_the_manifest_as_it_was(
    client: Any, registry: FakeRegistry
) -> None:
    """Under each of its tags, with the bytes and the type that it came with."""
    await _push(client, registry, "v1", "latest")

    assert registry.blobs == ARTIFACT.contents
    stored = (ARTIFACT.content.media_type, ARTIFACT.content.raw)
    assert registry.manifests[REPOSITORY, "v1"] == registry.manifests[REPOSITORY, "latest"] == stored
    puts = registry.lines("^PUT .*manifests")
    assert registry.lines()[-2:] == puts


async def test_a_blob_is_sent_in_one_request_of_known_length(client: Any, registry: FakeRegistry) -> None:
    """HEAD, POST, and a PUT to where the registry said, with its query kept."""
    await _push(client, registry, "v1")

    (put,) = [seen for seen in registry.seen if seen.method == "PUT" and len(seen.body) == len(LAYER)]
    assert put.headers["content-length"] == str(len(LAYER))
    assert put.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in put.headers
    assert put.query["*"] == f"_state=a%2Fb%3D&digest={str(Digest.of(LAYER)).replace(':', '%3A')}"


async def test_blobs_that_are_there_are_not_sent(client: Any, registry: FakeRegistry) -> None:
    """A second push asks whether they are, and sends the manifest."""
    await _push(client, registry, "v1")
    registry.seen.clear()

    await _push(client, registry, "v2")

    assert [line.split()[0] for line in registry.lines()] == ["HEAD", "HEAD", "HEAD", "PUT"]


async def test_a_push_without_a_tag_is_by_digest(client: Any, registry: FakeRegistry) -> None:
    """The manifest has a name in any case."""
    await _push(client, registry)

    assert registry.lines("^PUT .*manifests") == [f"PUT /v2/{REPOSITORY}/manifests/{ARTIFACT.id}"]


async def test_an_empty_blob_is_pushed_too(client: Any, registry: FakeRegistry) -> None:
    """It has a digest like any other."""
    artifact = make_artifact(b"")

    await _push(client, registry, "v1", artifact=artifact)

    assert registry.blobs == artifact.contents


async def test_progress_of_a_push_ends_with_the_whole_blob(client: Any, registry: FakeRegistry) -> None:
    """When the registry has confirmed it."""
    told = await _push(client, registry, "v1")

    assert [each.done for each in told if each.blob == ARTIFACT.layers[0]][-1] == len(LAYER)


async def test_an_upload_that_fails_in_passing_is_sent_again(client: Any, registry: FakeRegistry) -> None:
    """From its start, with a new place for it."""
    registry.fault("^PUT .*uploads", answer(503))
    registry.fault("^POST", answer(502))

    await _push(client, registry, "v1")

    assert registry.blobs == ARTIFACT.contents


Put = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _raw_registry(put: Put) -> AsyncIterator[str]:
    """A registry that has nothing, and whose uploads are dealt with by `put`; yields its address."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"PUT"):
                    await put(reader, writer)
                    break
                status = b"404 Not Found" if head.startswith(b"HEAD") else b"202 Accepted\r\nLocation: /up"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_all, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_upload_whose_connection_breaks_may_be_tried_again(client: Any) -> None:
    """That is what its error says to the copy; what was sent is lost."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1000)
        writer.transport.abort()

    async with _raw_registry(hang_up) as address, client.open() as registry:
        sink = registry.repository(client.reference(address))
        with pytest.raises(TransferInterrupted, match="broke off"):
            await sink.write(ARTIFACT.layers[0], 0, stream(LAYER))


async def test_an_upload_that_nobody_reads_is_given_up(client: Any) -> None:
    """A connection that takes no more bytes is broken, however long it stays open."""
    done = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    blob = Descriptor("application/octet-stream", Digest.of(b"x"), 1 << 30)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    timeouts = Timeouts(connect=0.2, stall=0.2, finish=5.0)
    async with _raw_registry(deaf) as address, client.open(timeouts=timeouts) as registry:
        sink = registry.repository(client.reference(address))
        with pytest.raises(TransferInterrupted, match="nothing came in time"):
            await sink.write(blob, 0, endless())
        done.set()


async def test_a_source_that_is_slow_is_not_the_registrys_fault(client: Any, registry: FakeRegistry) -> None:
    """Waiting for bytes to send is not limited by the time for sending them."""
    blob = Descriptor("application/octet-stream", Digest.of(b"slow"), 4)

    async def slow() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        for piece in (b"sl", b"ow"):
            later = loop.create_future()
            loop.call_later(0.4, later.set_result, None)
            await later
            yield piece

    timeouts = Timeouts(connect=0.1, stall=0.1, finish=5.0)
    async with serving(registry) as url, client.open(timeouts=timeouts) as hub:
        await hub.repository(client.reference(url)).write(blob, 0, slow())

    assert registry.blobs == {blob.digest: b"slow"}


@pytest.mark.parametrize("content", [b"short", b"a bit too long"])
async def test_a_source_of_another_size_is_an_error_of_its_own(
    client: Any, registry: FakeRegistry, content: bytes
) -> None:
    """It is not tried again: the bytes would not become others."""
    blob = Descriptor("application/octet-stream", Digest.of(b"ten bytes!"), 10)
    async with serving(registry) as url, client.open(retry=IMPATIENT) as hub:
        with pytest.raises(RegistryError, match="other than its 10 bytes"):
            await hub.repository(client.reference(url)).write(blob, 0, stream(content))

    assert registry.blobs == {}


async def test_the_failure_of_a_source_comes_through(client: Any, registry: FakeRegistry) -> None:
    """A disk that cannot be read is not told as trouble with the network."""
    blob = Descriptor("application/octet-stream", Digest.of(b"x"), 1 << 20)

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(1000)
        raise StoreError("the disk is gone")

    async with serving(registry) as url, client.open(retry=IMPATIENT) as hub:
        with pytest.raises(StoreError, match="the disk is gone"):
            await hub.repository(client.reference(url)).write(blob, 0, broken())


async def test_what_a_registry_refuses_for_good_is_told_once(client: Any, registry: FakeRegistry) -> None:
    """With its words."""
    registry.fault("^PUT .*uploads", refuse(413, "SIZE_INVALID", "too large for your plan"), times=99)

    with pytest.raises(RegistryError, match="too large for your plan"):
        await _push(client, registry, "v1", artifact=make_artifact(b"x"))
    assert len(registry.lines("^PUT")) <= 2


async def test_a_push_that_is_not_allowed_is_told_so(client: Any, registry: FakeRegistry) -> None:
    """Before any byte is sent."""
    registry.fault("^POST", refuse(403, "DENIED"), times=9)

    with pytest.raises(Unauthorized, match=r"access denied: `127\.0\.0\.1:\d+/team/model`"):
        await _push(client, registry, "v1")
    assert registry.lines("^PUT") == []


async def test_uploads_to_another_host_get_no_credentials(client: Any, registry: FakeRegistry) -> None:
    """The registry says where to; that place has a permission of its own in the URL."""
    registry.access = Access(users={"ann": "pw"})
    storage = FakeRegistry()
    async with serving(storage) as there, serving(registry) as url:
        registry.upload_base = there
        reference = client.reference(url)
        async with client.open({reference.registry: Credential("ann", "pw")}) as hub:
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])

    assert storage.blobs == ARTIFACT.contents
    assert all("authorization" not in seen.headers for seen in storage.seen)
    assert registry.manifests[REPOSITORY, "v1"][1] == ARTIFACT.content.raw


async def test_two_pushes_of_one_blob_send_it_once(client: Any, registry: FakeRegistry) -> None:
    """The second waits for the first, and finds it there."""
    blob = ARTIFACT.layers[0]
    claims: list[int] = []

    async def push(sink: Any) -> None:
        async with sink.claim(blob) as present:
            claims.append(present)
            if not present:
                await sink.write(blob, 0, stream(LAYER))

    async with serving(registry) as url, client.open() as hub:
        reference = client.reference(url)
        await asyncio.gather(*(push(hub.repository(reference)) for _ in range(3)))

    assert claims == [0, blob.size, blob.size]
    assert len(registry.lines("^PUT")) == 1


async def test_tags_of_another_repository_are_refused(client: Any, registry: FakeRegistry) -> None:
    """A repository is a sink for its own names only."""
    async with serving(registry) as url, client.open() as hub:
        sink = hub.repository(client.reference(url))
        with pytest.raises(InvalidRequest, match="does not belong"):
            await sink.commit(ARTIFACT.content, [client.reference(url, "other/model:v1")])

    assert registry.seen == []


async def test_a_manifest_that_is_stored_as_another_is_noticed(client: Any, registry: FakeRegistry) -> None:
    """The registry must not convert it."""
    other = str(Digest.of(b"other"))
    registry.fault("^PUT .*manifests", answer(201, Docker_Content_Digest=other))

    with pytest.raises(RegistryError, match="stored"):
        await _push(client, registry, "v1")


async def test_a_storage_that_will_not_be_asked_counts_as_not_having_a_blob(
    client: Any, registry: FakeRegistry
) -> None:
    """A signed URL for reading refuses HEAD; the blob is then sent."""
    storage = FakeRegistry()
    storage.fault("", answer(403), times=9)
    async with serving(storage) as there:
        registry.fault("^HEAD", answer(307, Location=f"{there}/signed"), times=9)
        await _push(client, registry, "v1")

    assert registry.blobs == ARTIFACT.contents

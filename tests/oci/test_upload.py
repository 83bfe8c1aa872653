"""Uploads in chunks, on real sockets: what goes on after a break, and what need not be sent at all."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import RegistryError, TransferInterrupted
from modelrunner.oci.chunks import Piece
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.registry import Repository
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.oci.upload import Rest, Session, Sessions
from modelrunner.testing.artifacts import make_artifact, stream
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.faults import Request, cut_upload, reset, unavailable
from modelrunner.testing.proxy import FaultProxy, fault_proxy
from modelrunner.testing.registry import Access, FakeRegistry, answer, refuse
from modelrunner.testing.serving import serving

CHUNK = 1 << 20
LAYER = bytes(range(256)) * 4 * 1024 * 5 + b"tail"  # five chunks and four bytes
ARTIFACT = make_artifact(LAYER, b"second layer")
BLOB = ARTIFACT.layers[0]
IMPATIENT = RetryPolicy(first=0.0, tries=4, breaks=4, connects=2)
REPOSITORY = "team/model"


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


async def _push(client: Any, url: str, rest: str = f"{REPOSITORY}:v1", **options: Any) -> None:
    neighbours = options.pop("neighbours", lambda _: ())
    async with client.open(retry=IMPATIENT, upload_chunk=CHUNK, **options) as hub:
        reference = client.reference(url, rest)
        sink = hub.repository(reference, neighbours=neighbours)
        await copy(ARTIFACT, sink, ARTIFACT.content, [reference], retry=IMPATIENT)


def _chunks(registry: FakeRegistry) -> list[str]:
    return [seen.headers["content-range"] for seen in registry.seen if seen.method == "PATCH"]


async def test_a_large_blob_goes_in_chunks_of_known_place(client: Any, registry: FakeRegistry) -> None:
    """One after the other, each where the answer to the last one said; a small blob goes whole."""
    async with serving(registry) as url:
        await _push(client, url)

    assert ARTIFACT.contents == registry.blobs
    starts = range(0, len(LAYER), CHUNK)
    assert [f"{at}-{min(at + CHUNK, len(LAYER)) - 1}" for at in starts] == _chunks(registry)
    assert all(seen.headers["content-length"] for seen in registry.seen if seen.method == "PATCH")
    closing = [seen for seen in registry.seen if seen.method == "PUT" and "uploads" in seen.path]
    assert sorted(len(seen.body) for seen in closing) == [0, len(b"second layer"), ARTIFACT.config.size]


async def test_an_upload_goes_on_where_it_broke_off(client: Any, registry: FakeRegistry) -> None:
    """Also in the middle of a chunk: the registry says how much it has, and no byte before that is sent."""
    async with serving(registry) as url:
        breaks = [300_000, 700_000, 100_000]

        def plan(request: Request) -> Any:
            return cut_upload(breaks.pop()) if request.method == "PATCH" and breaks else None

        with fault_proxy(url.removeprefix("http://"), plan) as proxy:
            await _push(client, proxy.address)
            sent = sum(each.received for each in proxy.exchanges if each.request.method == "PATCH")

    assert ARTIFACT.contents == registry.blobs
    assert len(registry.lines("^POST")) == len(ARTIFACT.contents)  # no upload was begun twice
    assert len(registry.lines("^GET .*uploads")) == 3
    assert sent <= len(LAYER) + 3 * 256 * 1024  # and what was under way in each break


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_chunk_that_is_turned_away_is_sent_again(
    client: Any, registry: FakeRegistry, status: int
) -> None:
    """What was there before it stays."""
    registry.fault("^PATCH", lambda reply: reply)  # the first one passes
    registry.fault("^PATCH", answer(status))

    async with serving(registry) as url:
        await _push(client, url)

    assert ARTIFACT.contents == registry.blobs
    assert len(registry.lines("^POST")) == len(ARTIFACT.contents)


async def test_an_upload_of_more_breaks_than_tries_ends_well_if_it_moves(
    client: Any, registry: FakeRegistry
) -> None:
    """Breaks are counted only in a row without headway."""
    async with serving(registry) as url:
        left = [400_000] * 12

        def plan(request: Request) -> Any:
            return cut_upload(left.pop()) if request.method == "PATCH" and left else None

        with fault_proxy(url.removeprefix("http://"), plan) as proxy:
            await _push(client, proxy.address)

    assert left == []
    assert ARTIFACT.contents == registry.blobs


async def test_an_upload_that_never_moves_is_given_up(client: Any, registry: FakeRegistry) -> None:
    """With the error of the last try."""

    class Busy(FakeRegistry):
        def _take(self, seen: Any, name: str, number: str, held: bytes) -> Any:
            return answer(503)(super()._begin(seen, name))

    registry = Busy()
    async with serving(registry) as url:
        with pytest.raises(TransferInterrupted, match="status 503"):
            await _push(client, url)

    assert len(registry.lines("^PATCH")) == IMPATIENT.breaks


async def test_a_push_that_was_called_off_goes_on_with_the_next_one(
    client: Any, registry: FakeRegistry
) -> None:
    """By whoever makes it, as long as the process lives."""
    began = asyncio.Event()
    held = asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield LAYER[: 2 * CHUNK + 1000]
        began.set()
        await held.wait()

    async with serving(registry) as url, client.open(retry=IMPATIENT, upload_chunk=CHUNK) as hub:
        reference = client.reference(url)

        async def first() -> None:
            sink = hub.repository(reference)
            async with sink.claim(BLOB) as present:
                await sink.write(BLOB, present, halting())

        task = asyncio.create_task(first())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        registry.seen.clear()
        async with hub.repository(reference).claim(BLOB) as present:
            await hub.repository(reference).write(BLOB, present, stream(LAYER[present:]))

    assert 2 * CHUNK <= present <= 2 * CHUNK + 1000
    assert registry.blobs == {BLOB.digest: LAYER}
    assert registry.lines("^POST") == []


async def test_an_early_refusal_ends_the_sending(client: Any) -> None:
    """A registry that has heard enough answers in the middle of a chunk; what it says is told."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "PATCH":
            await receive()
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await registry(scope, receive, send)

    registry = FakeRegistry()
    async with serving(app) as url:
        with pytest.raises(RegistryError, match="status 413"):
            await _push(client, url)


async def test_a_lost_upload_begins_again(client: Any, registry: FakeRegistry) -> None:
    """When the registry has forgotten it, nothing that it might have is relied upon."""
    breaks = [300_000]

    def plan(request: Request) -> Any:
        return cut_upload(breaks.pop()) if request.method == "PATCH" and breaks else None

    registry.fault("^GET .*uploads", refuse(404, "BLOB_UPLOAD_UNKNOWN"))
    async with serving(registry) as url:
        with fault_proxy(url.removeprefix("http://"), plan) as proxy:
            await _push(client, proxy.address)

    assert ARTIFACT.contents == registry.blobs
    assert len(registry.lines("^POST")) == len(ARTIFACT.contents) + 1


async def test_a_break_while_the_registry_verifies_sends_nothing_twice(
    client: Any, registry: FakeRegistry
) -> None:
    """The next try finds that everything is there, and asks again for the end of it."""
    registry.fault(r"^PUT .*uploads/\d+$", answer(503), times=3)  # of all three blobs

    async with serving(registry) as url:
        await _push(client, url)

    assert ARTIFACT.contents == registry.blobs
    assert len(_chunks(registry)) == 6


async def test_a_registry_without_chunks_gets_the_blob_whole(client: Any, registry: FakeRegistry) -> None:
    """It refuses the first one, and is not asked again."""
    registry.chunks = False
    async with serving(registry) as url, client.open(retry=IMPATIENT, upload_chunk=CHUNK) as hub:
        for name in ("one", "two"):
            reference = client.reference(url, f"team/{name}:v1")
            registry.blobs.clear()
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference], retry=IMPATIENT)

    assert ARTIFACT.contents == registry.blobs
    assert len(_chunks(registry)) == 1


async def test_a_registry_that_takes_one_chunk_only_gets_the_blob_whole_in_the_end(
    client: Any, registry: FakeRegistry
) -> None:
    """A later chunk that is refused may mean that the upload got lost; twice means something else."""

    class OneChunk(FakeRegistry):
        def _take(self, seen: Any, name: str, number: str, held: bytes) -> Any:
            return super()._take(seen, name, number, held) if not held else answer(400)(None)  # type: ignore[arg-type]  # which is not looked at

    registry = OneChunk()
    async with serving(registry) as url:
        await _push(client, url)

    assert ARTIFACT.contents == registry.blobs


async def test_a_registry_may_want_larger_chunks(client: Any, registry: FakeRegistry) -> None:
    """Its least is ours."""

    class Large(FakeRegistry):
        def _begin(self, seen: Any, name: str) -> Any:
            reply = super()._begin(seen, name)
            reply.headers["OCI-Chunk-Min-Length"] = str(2 * CHUNK)
            return reply

    registry = Large()
    async with serving(registry) as url:
        await _push(client, url)

    assert _chunks(registry) == [
        f"0-{2 * CHUNK - 1}",
        f"{2 * CHUNK}-{4 * CHUNK - 1}",
        f"{4 * CHUNK}-{len(LAYER) - 1}",
    ]


async def test_a_wrong_digest_is_told_once(client: Any, registry: FakeRegistry) -> None:
    """The bytes would not become others."""
    registry.fault(r"^PUT .*uploads/\d+$", refuse(400, "DIGEST_INVALID", "not what it says"), times=9)

    async with serving(registry) as url:
        with pytest.raises(RegistryError, match="not what it says"):
            await _push(client, url)

    assert len(_chunks(registry)) <= 6


async def test_a_token_that_expires_during_an_upload_is_replaced(client: Any) -> None:
    """Between two chunks; what was there stays."""
    registry = FakeRegistry(Access({"ann": "pw"}, bearer=True))
    chunks = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal chunks
        if scope["method"] == "PATCH":
            chunks += 1
            if chunks in {2, 4}:
                registry.revoke()
        await registry(scope, receive, send)

    async with serving(app) as url:
        await _push(client, url, known={client.reference(url).registry: Credential("ann", "pw")})

    assert ARTIFACT.contents == registry.blobs
    assert len(registry.lines("^POST .*uploads")) <= 2 * len(ARTIFACT.contents)
    assert _chunks(registry).count(f"0-{CHUNK - 1}") == 1


async def test_a_blob_is_mounted_from_a_neighbour(client: Any, registry: FakeRegistry) -> None:
    """No byte of it is sent, and the token is one for both repositories."""
    registry.access = Access({"ann": "pw"}, bearer=True)
    async with serving(registry) as url:
        known = {client.reference(url).registry: Credential("ann", "pw")}
        await _push(client, url, "team/first:v1", known=known)
        registry.seen.clear()
        registry.fault("^HEAD", refuse(404, "BLOB_UNKNOWN"), times=9)  # as if blobs were apart
        await _push(client, url, "me/mine:v1", known=known, neighbours=lambda _: ["team/first"])

    assert [seen for seen in registry.seen if len(seen.body) > 100 and "manifests" not in seen.path] == [
        seen for seen in registry.seen if seen.path == "/token"
    ]
    mounts = [seen for seen in registry.seen if seen.query.get("mount")]
    assert len(mounts) >= len(ARTIFACT.contents)
    assert {seen.query["from"] for seen in mounts} == {"team/first"}
    scopes = [seen.body.decode() for seen in registry.seen if seen.path == "/token"]
    assert any("team%2Ffirst%3Apull" in each and "me%2Fmine%3Apull%2Cpush" in each for each in scopes)


async def test_what_is_not_mounted_is_sent_in_the_upload_that_was_opened(
    client: Any, registry: FakeRegistry
) -> None:
    """A neighbour that gave nothing is not asked for the next blob."""
    registry.mounts = False
    async with serving(registry) as url:
        await _push(client, url, neighbours=lambda _: ["team/first"])

    assert ARTIFACT.contents == registry.blobs
    assert len(registry.lines("^POST")) == len(ARTIFACT.contents)


@pytest.mark.parametrize("refused", [401, 403, 404, 405])
async def test_a_neighbour_that_we_may_not_read_is_passed_over(
    client: Any, registry: FakeRegistry, refused: int
) -> None:
    """The blob is sent."""

    class Closed(FakeRegistry):
        def _begin(self, seen: Any, name: str) -> Any:
            return answer(refused)(None) if seen.query.get("mount") else super()._begin(seen, name)  # type: ignore[arg-type]  # which is not looked at

    registry = Closed()
    async with serving(registry) as url:
        await _push(client, url, neighbours=lambda _: ["secret/place"])

    assert ARTIFACT.contents == registry.blobs


async def test_pieces_of_any_size_make_chunks_of_the_right_one() -> None:
    """Nothing is lost between two chunks."""
    rest = Rest(stream(*(LAYER[at : at + 1000] for at in range(0, len(LAYER), 1000))))
    taken = [b"".join([piece async for piece in rest.take(size)]) for size in (1, 999, 1001, CHUNK, 1 << 30)]

    assert b"".join(taken) == LAYER
    assert [len(each) for each in taken[:4]] == [1, 999, 1001, CHUNK]


def test_of_many_uploads_the_oldest_are_forgotten() -> None:
    """So that what is never ended does not add up."""
    sessions = Sessions()
    digests = [Digest.of(str(number).encode()) for number in range(300)]
    for digest in digests:
        sessions.keep("r", digest, Session("http://r/up", 1))

    assert sum(sessions.find("r", digest) is not None for digest in digests) == 256
    assert sessions.find("r", digests[-1]) is not None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path) as address:
        yield address


@pytest.mark.registry
async def test_the_real_registry_takes_chunks_over_refusals_and_breaks(client: Any, server: str) -> None:
    """Between chunks it goes on; an upload that broke in the middle of one it forgets, and gets anew."""
    faults = [reset(), unavailable(0), cut_upload(300_000), reset()]
    patches = 0

    def plan(request: Request) -> Any:
        nonlocal patches
        patches += request.method == "PATCH"
        return faults.pop(0) if request.method == "PATCH" and patches % 2 == 0 and faults else None

    with fault_proxy(server, plan) as proxy:
        await _push(client, proxy.address)
        begun = [each for each in proxy.exchanges if each.request.method == "POST"]

    assert faults == []
    assert len(begun) == len(ARTIFACT.contents) + 1
    assert await _pulled(client, server) == LAYER


@pytest.mark.registry
async def test_the_real_registry_mounts(client: Any, server: str) -> None:
    """From a repository that has the blob; nothing but the manifest is sent."""
    await _push(client, server, "team/first:v1")
    with fault_proxy(server) as proxy:
        await _push(client, proxy.address, "me/mine:v1", neighbours=lambda _: ["team/first"])
        sent = _sent(proxy)

    assert sent == 0
    assert await _pulled(client, server, "me/mine:v1") == LAYER


def _sent(proxy: FaultProxy) -> int:
    return sum(each.received for each in proxy.exchanges if "uploads" in each.request.target)


async def _pulled(client: Any, address: str, rest: str = f"{REPOSITORY}:v1") -> bytes:
    async with client.open(timeouts=Timeouts()) as hub, _opened(hub, client, address, rest) as chunks:
        return b"".join([chunk async for chunk in chunks])


@asynccontextmanager
async def _opened(hub: Any, client: Any, address: str, rest: str) -> AsyncIterator[AsyncIterator[Piece]]:
    repository: Repository = hub.repository(client.reference(address, rest))
    async with repository.open(BLOB) as (_, chunks):
        yield chunks

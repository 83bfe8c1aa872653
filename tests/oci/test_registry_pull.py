"""Pulling, on real sockets, from a registry that can be told to do wrong."""

import asyncio
import json
from typing import Any

import pytest

from modelrunner.errors import (
    DigestMismatch,
    ModelNotFound,
    RegistryError,
    RegistryUnreachable,
    Unauthorized,
    UnsupportedModel,
)
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, OCI_INDEX
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import FakeRegistry, answer, cut, refuse, replace_body, stall
from modelrunner.testing.serving import serving

LAYER = bytes(range(256)) * 2000  # 512,000 bytes
ARTIFACT = make_artifact(LAYER, b"second layer")
REPOSITORY = "team/model"
IMPATIENT = RetryPolicy(first=0.0, tries=3, breaks=3, connects=2)


@pytest.fixture
def registry() -> FakeRegistry:
    fake = FakeRegistry()
    fake.add(REPOSITORY, "v1", ARTIFACT.content, ARTIFACT.contents)
    return fake


async def _pull(client: Any, fake: FakeRegistry, memory: Any, **options: Any) -> None:
    async with serving(fake) as url, client.open(**options) as registry:
        reference = client.reference(url)
        source = registry.repository(reference)
        manifest = await source.manifest(reference)
        await copy(source, memory, manifest, [reference])


async def test_a_pull_brings_every_byte(client: Any, registry: FakeRegistry, memory: Any) -> None:
    """Manifest, layers and configuration, each asked for once."""
    await _pull(client, registry, memory)

    assert memory.blobs == ARTIFACT.contents
    assert memory.committed[0][0].raw == ARTIFACT.content.raw
    assert len(registry.seen) == 4


async def test_requests_say_who_we_are_and_want_bytes_as_they_are(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """A user agent, no compression, no cookies, no credentials that nobody asked for."""
    await _pull(client, registry, memory)

    for seen in registry.seen:
        assert seen.headers["user-agent"] == "modelrunner-test/1"
        assert seen.headers["accept-encoding"] == "identity"
        assert not {"authorization", "cookie"} & set(seen.headers)


@pytest.mark.parametrize("by", ["v1", str(ARTIFACT.id)])
async def test_a_manifest_is_fetched_by_tag_or_by_digest(
    client: Any, registry: FakeRegistry, by: str
) -> None:
    """Its bytes are those that were published."""
    async with serving(registry) as url, client.open() as hub:
        joint = "@" if ":" in by else ":"
        manifest = await hub.manifest(client.reference(url, f"{REPOSITORY}{joint}{by}"))

    assert manifest.raw == ARTIFACT.content.raw
    assert registry.lines() == [f"GET /v2/{REPOSITORY}/manifests/{by}"]


async def test_a_tag_with_a_digest_must_have_that_digest(client: Any, registry: FakeRegistry) -> None:
    """A tag that has moved is not taken for what it was."""
    other = make_artifact(b"other")
    async with serving(registry) as url, client.open() as hub:
        kept = await hub.manifest(client.reference(url, f"{REPOSITORY}:v1@{ARTIFACT.id}"))
        with pytest.raises(DigestMismatch, match="has the digest") as caught:
            await hub.manifest(client.reference(url, f"{REPOSITORY}:v1@{other.id}"))

    assert kept.digest == ARTIFACT.id
    assert "tag may have moved" in str(caught.value.hint)


@pytest.mark.parametrize("selector", [":v1", f"@{ARTIFACT.id}"])
async def test_manifest_bytes_that_were_changed_are_noticed(
    client: Any, registry: FakeRegistry, selector: str
) -> None:
    """By the digest that was asked for, or by the one that the registry announces."""
    registry.fault("manifests", replace_body(ARTIFACT.content.raw.replace(b"gguf", b"evil")))
    async with serving(registry) as url, client.open() as hub:
        with pytest.raises(DigestMismatch):
            await hub.manifest(client.reference(url, f"{REPOSITORY}{selector}"))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (refuse(404, "MANIFEST_UNKNOWN"), ModelNotFound, "model not found: `127"),
        (refuse(404, "NAME_UNKNOWN"), ModelNotFound, "model not found"),
        (refuse(401, "UNAUTHORIZED"), Unauthorized, "access denied"),
        (refuse(403, "DENIED"), Unauthorized, "access denied"),
        (refuse(418, "TEAPOT", "short and stout"), RegistryError, r"status 418 .*\(short and stout\)"),
        (answer(200, b"<html>welcome</html>"), RegistryError, "unusable manifest"),
        (answer(200, b"x" * (MAX_MANIFEST_BYTES + 1)), RegistryError, "larger than"),
        (answer(200, b"{}", Content_Type=OCI_INDEX), UnsupportedModel, "index of several"),
        (answer(200, b"{}", Docker_Content_Digest="sha256:../../x"), RegistryError, "announces a digest"),
        (answer(404, b"e" * 10**6), ModelNotFound, "model not found"),
    ],
)
async def test_a_manifest_that_does_not_come_has_a_clear_error(
    client: Any, registry: FakeRegistry, spoil: Any, error: type[Exception], words: str
) -> None:
    """By status, code and content; a large or foreign body does no harm."""
    registry.fault("manifests", spoil, times=9)
    async with serving(registry) as url, client.open() as hub:
        with pytest.raises(error, match=words):
            await hub.manifest(client.reference(url))


async def test_a_registry_that_is_down_is_told_in_a_sentence(client: Any) -> None:
    """After the few tries that the policy allows."""
    async with client.open(retry=IMPATIENT) as hub:
        with pytest.raises(
            RegistryUnreachable, match=r"cannot reach `http://127\.0\.0\.1:1` \(connection refused\)"
        ):
            await hub.manifest(client.reference("127.0.0.1:1"))


async def test_a_host_that_does_not_exist_is_told_apart(client: Any) -> None:
    """No name service knows `.invalid`."""
    async with client.open(retry=IMPATIENT) as hub:
        with pytest.raises(RegistryUnreachable, match="no such host"):
            await hub.manifest(client.reference("registry.invalid"))


async def test_a_registry_without_tls_is_told_apart(client: Any) -> None:
    """The hint says how to allow it."""

    async def refuse_everything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    # Only 127.0.0.1 is spoken to without TLS unasked.
    server = await asyncio.start_server(refuse_everything, "127.0.0.2", 0)
    address = f"127.0.0.2:{server.sockets[0].getsockname()[1]}"
    async with server, client.open(retry=IMPATIENT) as hub:
        with pytest.raises(RegistryUnreachable, match="no secure connection") as caught:
            await hub.manifest(client.reference(address))

    assert "insecure registry" in str(caught.value.hint)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_passing_trouble_passes(client: Any, registry: FakeRegistry, memory: Any, status: int) -> None:
    """Requests that get such a status are repeated."""
    registry.fault("manifests", answer(status, b"busy"), times=2)
    registry.fault("blobs", answer(status, b"busy"), times=2)

    await _pull(client, registry, memory)

    assert memory.blobs == ARTIFACT.contents


async def test_lasting_trouble_is_given_up(client: Any, registry: FakeRegistry) -> None:
    """After as many tries as the policy allows, with what the registry said."""
    registry.fault("manifests", refuse(503, "UNAVAILABLE", "down for repair"), times=9)
    async with serving(registry) as url, client.open(retry=IMPATIENT) as hub:
        with pytest.raises(RegistryError, match="down for repair"):
            await hub.manifest(client.reference(url))

    assert len(registry.seen) == 3


async def test_a_registry_that_wants_patience_for_too_long_is_given_up(
    client: Any, registry: FakeRegistry
) -> None:
    """`Retry-After: 3600` is an answer, not a waiting time; nor does the next request wait for it."""
    registry.fault("manifests", answer(429, b"", Retry_After="3600"))
    async with serving(registry) as url, client.open() as hub, asyncio.timeout(20):
        with pytest.raises(RegistryError, match="too many requests"):
            await hub.manifest(client.reference(url))
        assert len(registry.seen) == 1

        assert ARTIFACT.id == (await hub.manifest(client.reference(url))).digest


async def test_a_body_that_breaks_off_goes_on_with_a_range(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """From the byte after the last one that came; nothing is fetched twice."""
    layer = ARTIFACT.layers[0]
    registry.fault(str(layer.digest), cut(200_000))
    registry.fault(str(layer.digest), cut(100_000))

    await _pull(client, registry, memory)

    asked = [seen.headers.get("range") for seen in registry.seen if seen.path.endswith(layer.digest.hex)]
    assert asked == [None, "bytes=200000-511999", "bytes=300000-511999"]
    assert memory.blobs[layer.digest] == LAYER


async def test_a_body_without_an_end_is_asked_for_again(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """A registry that knows no ranges sends all of it, and what was there already is skipped."""
    registry.ranges = False
    registry.fault(str(ARTIFACT.layers[0].digest), cut(200_000))

    await _pull(client, registry, memory)

    assert memory.blobs[ARTIFACT.layers[0].digest] == LAYER


async def test_a_manifest_that_breaks_off_is_asked_for_again(client: Any, registry: FakeRegistry) -> None:
    """As a whole: it is small."""
    registry.fault("manifests", cut(10))
    async with serving(registry) as url, client.open() as hub:
        assert (await hub.manifest(client.reference(url))).digest == ARTIFACT.id


async def test_a_body_that_always_breaks_off_is_given_up(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """What came is left with the sink, for another time."""
    layer = ARTIFACT.layers[0]
    registry.fault(str(layer.digest), cut(1000), times=99)

    with pytest.raises(RegistryError, match="3 times in a row"):
        await _pull(client, registry, memory, retry=IMPATIENT)

    assert memory.partial[layer.digest] == LAYER[:3000]
    assert memory.committed == []


async def test_headway_renews_the_patience(client: Any, registry: FakeRegistry, memory: Any) -> None:
    """A bad line with a large blob breaks often, and gets there."""
    layer = ARTIFACT.layers[0]
    registry.fault(str(layer.digest), cut(70_000), times=7)

    await _pull(client, registry, memory, retry=IMPATIENT)

    assert memory.blobs[layer.digest] == LAYER


async def test_a_body_that_stalls_counts_as_broken(client: Any, registry: FakeRegistry, memory: Any) -> None:
    """Silence has a limit, and the rest is asked for on another connection."""
    layer = ARTIFACT.layers[0]
    registry.fault(str(layer.digest), stall(1000))

    await _pull(client, registry, memory, timeouts=Timeouts(connect=5.0, stall=0.2, finish=5.0))

    assert memory.blobs[layer.digest] == LAYER


async def test_a_pull_goes_on_where_an_earlier_one_ended(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """The first request of a started blob has a range already."""
    layer = ARTIFACT.layers[0]
    memory.partial[layer.digest] = LAYER[:123_456]

    await _pull(client, registry, memory)

    (seen,) = [seen for seen in registry.seen if seen.path.endswith(layer.digest.hex)]
    assert seen.headers["range"] == "bytes=123456-511999"
    assert memory.blobs == ARTIFACT.contents


async def test_a_part_that_does_not_say_which_one_it_is_is_not_used(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """A wrong `Content-Range` leads to a request for all of it."""
    layer = ARTIFACT.layers[0]
    memory.partial[layer.digest] = LAYER[:1000]
    registry.fault(str(layer.digest), answer(206, LAYER[2000:], Content_Range="bytes 2000-511999/512000"))

    await _pull(client, registry, memory)

    assert memory.blobs[layer.digest] == LAYER


async def test_other_bytes_under_a_digest_are_noticed(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """By the sink; nothing is published."""
    layer = ARTIFACT.layers[0]
    registry.fault(str(layer.digest), replace_body(LAYER[:-1] + b"X"))

    with pytest.raises(DigestMismatch):
        await _pull(client, registry, memory)
    assert memory.committed == []


@pytest.mark.parametrize("content", [LAYER[:-1], LAYER + b"X"])
async def test_a_blob_of_another_size_is_refused_at_once(
    client: Any, registry: FakeRegistry, memory: Any, content: bytes
) -> None:
    """Before its bytes are read."""
    registry.fault(str(ARTIFACT.layers[0].digest), replace_body(content))

    with pytest.raises(RegistryError, match="but its manifest says 512000"):
        await _pull(client, registry, memory)


async def test_a_blob_that_is_missing_is_not_a_missing_model(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """The model was published incompletely."""
    del registry.blobs[ARTIFACT.layers[0].digest]

    with pytest.raises(RegistryError, match="not its blob") as caught:
        await _pull(client, registry, memory)
    assert type(caught.value) is RegistryError


async def test_a_range_of_a_blob_can_be_read(client: Any, registry: FakeRegistry) -> None:
    """From the middle, to before the end."""
    layer = ARTIFACT.layers[0]
    async with serving(registry) as url, client.open() as hub:
        source = hub.repository(client.reference(url))
        async with source.open(layer, 100, 300) as (start, chunks):
            body = b"".join([chunk async for chunk in chunks])

    assert (start, body) == (100, LAYER[100:300])
    assert registry.seen[0].headers["range"] == "bytes=100-299"


async def test_a_range_from_a_registry_without_ranges_starts_at_0(
    client: Any, registry: FakeRegistry
) -> None:
    """The caller is told so; the end is kept."""
    registry.ranges = False
    async with serving(registry) as url, client.open() as hub:
        source = hub.repository(client.reference(url))
        async with source.open(ARTIFACT.layers[0], 100, 300) as (start, chunks):
            body = b"".join([chunk async for chunk in chunks])

    assert (start, body) == (0, LAYER[:300])


async def test_a_reader_may_leave_in_the_middle(client: Any, registry: FakeRegistry) -> None:
    """The connection is let go, and the client works on."""
    async with serving(registry) as url, client.open() as hub:
        reference = client.reference(url)
        async with hub.repository(reference).open(ARTIFACT.layers[0]) as (_, chunks):
            await anext(chunks)

        assert (await hub.manifest(reference)).digest == ARTIFACT.id


async def test_a_pull_that_is_called_off_ends_at_once(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """Also while nothing comes."""
    began = asyncio.Event()
    write = memory.write

    async def begin(*arguments: Any) -> None:
        began.set()
        await write(*arguments)

    memory.write = begin
    registry.fault(str(ARTIFACT.layers[0].digest), stall(1000))
    task = asyncio.create_task(_pull(client, registry, memory))
    await began.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert memory.committed == []


async def test_blobs_in_other_storage_are_fetched_there_without_credentials(
    client: Any, registry: FakeRegistry, memory: Any
) -> None:
    """A redirect is followed with the range and the query as it is."""
    layer = ARTIFACT.layers[0]
    memory.partial[layer.digest] = LAYER[:1000]
    storage = FakeRegistry()
    storage.fault("/signed", answer(206, LAYER[1000:], Content_Range="bytes 1000-511999/512000"))
    async with serving(storage) as there:
        registry.fault(str(layer.digest), answer(307, Location=f"{there}/signed?key=a%2Fb%3D&x=%20"))
        await _pull(client, registry, memory)

    (seen,) = storage.seen
    assert seen.headers["range"] == "bytes=1000-511999"
    assert seen.query["*"] == "key=a%2Fb%3D&x=%20"
    assert "authorization" not in seen.headers
    assert memory.blobs[layer.digest] == LAYER


async def test_redirects_in_a_circle_end(client: Any, registry: FakeRegistry) -> None:
    """After ten."""
    registry.fault("manifests", answer(302, Location=f"/v2/{REPOSITORY}/manifests/v1"), times=99)
    async with serving(registry) as url, client.open() as hub:
        with pytest.raises(RegistryError, match="stopped after 10 redirects"):
            await hub.manifest(client.reference(url))

    assert len(registry.seen) == 11


async def test_the_environment_names_a_proxy(
    client: Any, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes to the proxy, with the proxy's own password."""
    monkeypatch.setenv("no_proxy", "")
    async with serving(registry) as url, client.open() as hub:
        monkeypatch.setenv("http_proxy", url.replace("//", "//ann:pw@"))
        manifest = await hub.manifest(client.reference("registry.local:5000"))

    assert manifest.digest == ARTIFACT.id
    assert registry.seen[0].headers["host"] == "registry.local:5000"
    assert registry.seen[0].headers["proxy-authorization"] == "Basic YW5uOnB3"


async def test_a_host_may_be_excepted_from_the_proxy(
    client: Any, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`NO_PROXY` is honoured."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with serving(registry) as url, client.open() as hub:
        assert (await hub.manifest(client.reference(url))).digest == ARTIFACT.id


async def test_passwords_of_netrc_are_not_sent(
    client: Any, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """That file is for other programs."""
    (tmp_path / "netrc").write_text("default login ann password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with serving(registry) as url, client.open() as hub:
        await hub.manifest(client.reference(url))

    assert "authorization" not in registry.seen[0].headers


async def test_a_manifest_with_a_sha512_layer_is_pulled(client: Any, memory: Any) -> None:
    """Both registered algorithms are names of blobs."""
    import hashlib

    digest = Digest("sha512", hashlib.sha512(b"layer").hexdigest())
    document = json.loads(make_artifact(b"layer").content.raw)
    document["layers"][0]["digest"] = str(digest)
    raw = json.dumps(document).encode()
    fake = FakeRegistry()
    fake.manifests[REPOSITORY, "v1"] = (document["mediaType"], raw)
    fake.blobs[digest] = b"layer"
    async with serving(fake) as url, client.open() as hub:
        reference = client.reference(url)
        source = hub.repository(reference)
        (layer,) = (await source.manifest(reference)).layers
        async with source.open(layer) as (_, chunks):
            assert b"".join([chunk async for chunk in chunks]) == b"layer"

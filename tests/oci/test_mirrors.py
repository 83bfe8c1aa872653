from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from modelrunner.errors import DigestMismatch, ModelNotFound, RegistryError
from modelrunner.oci.auth import Access
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credential, Credentials
from modelrunner.oci.endpoint import Endpoint
from modelrunner.oci.mirrors import Hosts, parse_mirrors
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.registry import Repository, Turns
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy, read_blob
from modelrunner.oci.transport import Transport
from modelrunner.oci.upload import Sessions
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import FakeRegistry, answer, replace_body
from modelrunner.testing.serving import serving

REFERENCE = parse_reference("docker.io/ai/m:v1")
ARTIFACT = make_artifact(b"weights" * 1000)
UPSTREAM = Access(Endpoint("docker.io", "https://registry-1.docker.io", internal=False), "ai/m")


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://m.example/artifactory/docker/", "https://m.example/artifactory/docker"),
        ("https://m.example", "https://m.example"),
        ("https://m.example/v2/", "https://m.example"),
        ("m.example:5000", "https://m.example:5000"),
        ("127.0.0.1:5000", "https://127.0.0.1:5000"),
        ("http://m.internal/proxy", "http://m.internal/proxy"),
        ('"https://m.example"', "https://m.example"),
    ],
)
def test_a_mirror_is_read_as_the_reference_does(text: str, base: str) -> None:
    """HTTPS unless it says otherwise, its path kept; it is told whose content is wanted."""
    (mirror,) = parse_mirrors([text])

    assert f"{base}/v2/ai/m/blobs/x?ns=docker.io" == mirror.url("ai/m/blobs/x")


def test_what_is_no_address_is_left_out() -> None:
    """The others are used all the same."""
    found = parse_mirrors(["ftp://x", "https://", "https://user:pw@x", "http://[", "https://good"])

    assert ["https://good"] == [mirror.base for mirror in found]


def test_only_docker_hub_has_mirrors_and_it_comes_last() -> None:
    """A credential that came with the request stays with the registry that it was for."""
    mirrors = parse_mirrors(["https://m.example"])
    hub = replace(UPSTREAM, credential=Credential("ann", "pw"))
    other = Access(Endpoint("ghcr.io", "https://ghcr.io", internal=False), "ai/m")

    mirror, last = Hosts(hub, mirrors).places()
    assert (None, hub) == (mirror.credential, last)
    assert (other,) == Hosts(other, mirrors).places()


def test_a_mirror_that_fails_is_not_asked_again_but_one_that_lacks_something_is() -> None:
    """By the same pull."""
    hosts = Hosts(UPSTREAM, parse_mirrors(["https://a", "https://b"]))
    first, second, upstream = hosts.places()
    hosts.passes_over(first, ModelNotFound("no"))
    hosts.passes_over(second, RegistryError("broken"))

    assert (first, upstream) == hosts.places()
    assert not hosts.passes_over(upstream, RegistryError("broken"))


class World:
    """A registry with one mirror, as a repository sees them."""

    def __init__(self) -> None:
        self.mirror, self.upstream = FakeRegistry(), FakeRegistry()
        for registry in (self.mirror, self.upstream):
            registry.add("ai/m", "v1", ARTIFACT.content, ARTIFACT.contents)


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def repository(world: World) -> AsyncIterator[Repository]:
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(serving(world.mirror))
        far = await stack.enter_async_context(serving(world.upstream))
        transport = await stack.enter_async_context(
            Transport(
                Credentials({}),
                user_agent="test",
                retry=RetryPolicy(first=0.001, longest=0.001),
                timeouts=Timeouts(),
            )
        )
        access = Access(Endpoint("docker.io", far, internal=True), "ai/m")
        yield Repository(transport, Hosts(access, parse_mirrors([near])), Turns(), Sessions())


async def test_a_mirror_is_asked_instead_of_the_registry(world: World, repository: Repository) -> None:
    """For the manifest and the blobs; each request says whose content it wants."""
    manifest = await repository.manifest(REFERENCE)
    content = await read_blob(repository, manifest.layers[0], limit=1 << 20)

    assert b"weights" * 1000 == content
    assert [] == world.upstream.seen
    assert {"docker.io"} == {seen.query["ns"] for seen in world.mirror.seen}


async def test_a_mirror_that_lies_or_fails_is_passed_over(world: World, repository: Repository) -> None:
    """Whatever it does wrong, the registry itself is asked."""
    world.mirror.fault("GET .*/manifests/", answer(503), times=10)
    manifest = await repository.manifest(REFERENCE)

    assert ARTIFACT.content.digest == manifest.digest
    assert ["GET /v2/ai/m/manifests/v1"] == world.upstream.lines()


async def test_another_manifest_than_the_digest_is_not_taken_from_a_mirror(
    world: World, repository: Repository
) -> None:
    """The registry's own is."""
    world.mirror.fault("GET .*/manifests/", replace_body(b"{}"))
    reference = parse_reference(f"docker.io/ai/m@{ARTIFACT.content.digest}")
    manifest = await repository.manifest(reference)

    assert ARTIFACT.content.digest == manifest.digest
    assert 1 == len(world.upstream.seen)


@pytest.mark.parametrize("kind", ["layer", "config"])
async def test_wrong_bytes_of_a_mirror_are_fetched_again_from_the_registry(
    world: World, repository: Repository, tmp_path: Path, kind: str
) -> None:
    """Which a mirror that serves a damaged copy does not keep from being pulled."""
    blob = ARTIFACT.layers[0] if kind == "layer" else ARTIFACT.config
    world.mirror.blobs[blob.digest] = bytes(blob.size)
    store = Store(tmp_path / "store")
    manifest = await repository.manifest(REFERENCE)
    await read_blob(repository, manifest.config, limit=1 << 20)
    await copy(repository, store, manifest, [REFERENCE])

    assert ARTIFACT.contents[blob.digest] == store.blob_path(blob.digest).read_bytes()
    assert {f"GET /v2/ai/m/blobs/{blob.digest}"} == set(world.upstream.lines())


async def test_wrong_bytes_of_the_registry_itself_are_an_error(
    world: World, repository: Repository, tmp_path: Path
) -> None:
    """Nobody is left to ask."""
    blob = ARTIFACT.layers[0]
    for registry in (world.mirror, world.upstream):
        registry.blobs[blob.digest] = bytes(blob.size)
    store = Store(tmp_path / "store")
    with pytest.raises(DigestMismatch):
        await copy(repository, store, await repository.manifest(REFERENCE), [REFERENCE])

    assert not store.blob_path(blob.digest).exists()
    assert () == store.snapshot.models


async def test_a_redirect_is_remembered_until_it_expires(world: World, repository: Repository) -> None:
    """The registry is asked once for many ranges, and once more when the place that it named refuses."""
    world.mirror.fault(".*", answer(503), times=100)
    blob = ARTIFACT.content.layers[0]
    path = f"/v2/ai/m/blobs/{blob.digest}"
    storage = FakeRegistry()
    storage.blobs.update(ARTIFACT.contents)
    async with serving(storage) as address:
        world.upstream.fault(f"GET {path}", answer(307, Location=f"{address}{path}?signed=1"), times=2)
        for start in (0, 1000, 2000, 3000):
            if start == 2000:
                storage.fault("GET .*", answer(403))
            async with repository.open(blob, start, start + 1000) as (position, chunks):
                assert (start, 1000) == (position, sum([len(chunk) async for chunk in chunks]))

    assert [f"GET {path}"] * 2 == world.upstream.lines()
    assert all("authorization" not in seen.headers for seen in storage.seen)

"""Against the registry server that everybody runs, and a client that everybody trusts."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import ModelNotFound, RegistryError, Unauthorized
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import make_artifact, stream
from modelrunner.testing.docker_registry import docker_registry

pytestmark = pytest.mark.registry

ARTIFACT = make_artifact(os.urandom(3 << 20), b"second layer", b"")
USER, PASSWORD = "ann", "pass word"
# bcrypt, the only form the server knows: `htpasswd -B`.
HASHED = "$2b$05$abcdefghijklmnopqrstuuIt/9/tGzLcigNq/.RWIDjeEVR30RSf."


def _skopeo(*arguments: str) -> bytes:
    program = shutil.which("skopeo")
    assert program is not None, "skopeo is not installed"
    return subprocess.run([program, *arguments], check=True, capture_output=True, timeout=30).stdout


async def test_what_is_pushed_is_pulled_byte_for_byte(client: Any, memory: Any, tmp_path: Path) -> None:
    """Into the real server and back, by tag and by digest."""
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            reference = client.reference(address)
            repository = hub.repository(reference)
            await copy(ARTIFACT, repository, ARTIFACT.content, [reference])
            by_tag = await repository.manifest(reference)
            by_digest = await hub.manifest(client.reference(address, f"team/model@{ARTIFACT.id}"))
            await copy(repository, memory, by_tag, [reference])

    assert by_tag.raw == by_digest.raw == ARTIFACT.content.raw
    assert memory.blobs == ARTIFACT.contents


async def test_another_client_sees_the_manifest_as_it_was_made(client: Any, tmp_path: Path) -> None:
    """`skopeo inspect --raw` prints the bytes that were pushed."""
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            reference = client.reference(address)
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
        raw = _skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")

    assert raw == ARTIFACT.content.raw


async def test_what_another_client_pushed_is_pulled(client: Any, memory: Any, tmp_path: Path) -> None:
    """`skopeo copy` to another name, then our pull."""
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            reference = client.reference(address)
            other = client.reference(address, "other/place:v2")
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
            flags = ("--src-tls-verify=false", "--dest-tls-verify=false", "--insecure-policy")
            _skopeo(*flags[2:], "copy", *flags[:2], f"docker://{reference}", f"docker://{other}")
            source = hub.repository(other)
            manifest = await source.manifest(other)
            await copy(source, memory, manifest, [])

    assert memory.blobs == ARTIFACT.contents


async def test_a_blob_goes_on_in_the_middle(client: Any, memory: Any, tmp_path: Path) -> None:
    """The server knows ranges, and we ask for the rest only."""
    layer = ARTIFACT.layers[0]
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            reference = client.reference(address)
            repository = hub.repository(reference)
            await copy(ARTIFACT, repository, ARTIFACT.content, [reference])
            async with repository.open(layer, 1000, 5000) as (start, chunks):
                part = b"".join([chunk async for chunk in chunks])

    assert (start, part) == (1000, ARTIFACT.contents[layer.digest][1000:5000])


async def test_passwords_are_asked_for_and_sent(client: Any, memory: Any, tmp_path: Path) -> None:
    """Push and pull with basic authentication."""
    with docker_registry(tmp_path, users={USER: HASHED}) as address:
        async with client.open({address: Credential(USER, PASSWORD)}) as hub:
            reference = client.reference(address)
            repository = hub.repository(reference)
            await copy(ARTIFACT, repository, ARTIFACT.content, [reference])
            await copy(repository, memory, await repository.manifest(reference), [])

    assert memory.blobs == ARTIFACT.contents


@pytest.mark.parametrize("credential", [None, Credential(USER, "wrong")])
async def test_without_the_password_nothing_goes_either_way(
    client: Any, tmp_path: Path, credential: Credential | None
) -> None:
    """Both a push and a pull say how to log in."""
    with docker_registry(tmp_path, users={USER: HASHED}) as address:
        async with client.open({address: credential} if credential else {}) as hub:
            reference = client.reference(address)
            with pytest.raises(Unauthorized, match="access denied"):
                await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
            with pytest.raises(Unauthorized, match="access denied"):
                await hub.manifest(reference)


@pytest.mark.parametrize("name", ["team/absent:v1", "team/model:absent"])
async def test_what_is_not_there_is_not_found(client: Any, tmp_path: Path, name: str) -> None:
    """An unknown repository and an unknown tag."""
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            reference = client.reference(address)
            await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
            with pytest.raises(ModelNotFound):
                await hub.manifest(client.reference(address, name))


async def test_the_server_verifies_what_is_pushed(client: Any, tmp_path: Path) -> None:
    """A blob of other bytes is refused, and the error is not taken for trouble on the way."""
    blob = Descriptor("application/octet-stream", Digest.of(b"expected"), 8)
    with docker_registry(tmp_path) as address:
        async with client.open() as hub:
            with pytest.raises(RegistryError, match="digest") as caught:
                await hub.repository(client.reference(address)).write(blob, 0, stream(b"whatever"))

    assert caught.value.detail == {"status": 400, "codes": ["DIGEST_INVALID"]}

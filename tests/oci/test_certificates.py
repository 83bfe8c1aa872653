"""Whom we believe in TLS, on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, RegistryUnreachable
from modelrunner.oci.certificates import Certificates, docker_folders
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.registry import Registry
from modelrunner.oci.retry import RetryPolicy
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving
from modelrunner.testing.tls import Authority, connect_proxy, make_authority, tls_front

ARTIFACT = make_artifact(b"weights")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@asynccontextmanager
async def _registry(authority: Authority, *, clients: bool = False) -> AsyncIterator[str]:
    """A registry that has the artifact, behind TLS; its address."""
    fake = FakeRegistry()
    fake.add("team/model", "v1", ARTIFACT.content, ARTIFACT.contents)
    async with serving(fake) as url:
        with tls_front(url.removeprefix("http://"), authority, clients=clients) as address:
            yield address


async def _digest(address: str, certificates: Certificates) -> Digest:
    """The id of the model there."""
    async with Registry(
        credentials=Credentials({}),
        user_agent="test",
        certificates=certificates,
        retry=RetryPolicy(first=0.0, connects=1),
        timeouts=Timeouts(connect=5.0),
    ) as registry:
        return (await registry.manifest(parse_reference(f"{address}/team/model:v1"))).digest


async def test_an_unknown_authority_is_not_believed(authority: Authority) -> None:
    """And that is said."""
    async with _registry(authority) as address:
        with pytest.raises(RegistryUnreachable, match="its certificate is not valid"):
            await _digest(address, Certificates())


async def test_an_authority_that_a_setting_names_is_believed(authority: Authority) -> None:
    """Besides those of the system."""
    async with _registry(authority) as address:
        assert await _digest(address, Certificates(authority.certificate)) == ARTIFACT.id


async def test_docker_s_folder_of_a_host_is_read(authority: Authority, tmp_path: Path) -> None:
    """It holds for that host and port alone."""
    async with _registry(authority) as address:
        folder = tmp_path / address
        folder.mkdir()
        (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
        certificates = Certificates(folders=(tmp_path,))

        assert await _digest(address, certificates) == ARTIFACT.id
        async with _registry(authority) as other:
            with pytest.raises(RegistryUnreachable):
                await _digest(other, certificates)


async def test_a_registry_that_wants_a_certificate_of_ours_gets_it(
    authority: Authority, tmp_path: Path
) -> None:
    """From the same folder, with its key."""
    certificate, key = authority.issue("client", "127.0.0.3")
    async with _registry(authority, clients=True) as address:
        folder = tmp_path / address
        folder.mkdir()
        (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
        with pytest.raises(RegistryUnreachable):
            await _digest(address, Certificates(folders=(tmp_path,)))
        (folder / "client.cert").write_bytes(certificate.read_bytes())
        (folder / "client.key").write_bytes(key.read_bytes())

        assert await _digest(address, Certificates(folders=(tmp_path,))) == ARTIFACT.id


async def test_a_tunnel_through_a_proxy_is_opened(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `HTTPS_PROXY` says; the certificate is still that of the registry."""
    monkeypatch.setenv("no_proxy", "")
    async with _registry(authority) as address:
        with connect_proxy() as proxy:
            monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
            digest = await _digest(address, Certificates(authority.certificate))

    assert digest == ARTIFACT.id
    assert set(proxy.targets) == {address}


@pytest.mark.parametrize("content", [None, b"this is no certificate"])
async def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, content: bytes | None) -> None:
    """At the start, and not with the first pull."""
    path = tmp_path / "company.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"certificates cannot be read: `.*company\.pem`"):
        await _digest("127.0.0.2:1", Certificates(path))


def test_the_folders_are_those_of_docker(tmp_path: Path) -> None:
    """A user's own, and the system's."""
    assert [str(folder) for folder in docker_folders(str(tmp_path))] == [
        f"{tmp_path}/.docker/certs.d",
        "/etc/docker/certs.d",
    ]

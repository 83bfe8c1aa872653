"""Which Docker Engine is meant: flags, environment, docker's contexts."""

import hashlib
import json
from pathlib import Path

import pytest

from modelrunner.cli.docker_flags import DockerFlags
from modelrunner.cli.docker_host import Certificates, DockerHost, find
from modelrunner.errors import InvalidRequest, StoreError

SOCKET = "unix:///var/run/docker.sock"


def make_context(config: Path, name: str, host: str, *, skip: bool = False) -> None:
    """Write a context as docker's client does."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    endpoint = {"Host": host, "SkipTLSVerify": skip}
    meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": endpoint}}))
    secrets = config / "contexts" / "tls" / key / "docker"
    secrets.mkdir(parents=True)
    (secrets / "ca.pem").touch()


def _environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(tmp_path), **more}


@pytest.mark.parametrize(
    ("flags", "environ", "current", "url"),
    [
        (DockerFlags(), {}, None, SOCKET),
        (DockerFlags(), {}, "lab", "tcp://lab:2376"),
        (DockerFlags(), {"DOCKER_CONTEXT": "gpu"}, "lab", "tcp://gpu:2376"),
        (DockerFlags(), {"DOCKER_HOST": "tcp://x:1", "DOCKER_CONTEXT": "gpu"}, "lab", "tcp://x:1"),
        (DockerFlags(context="gpu"), {"DOCKER_HOST": "tcp://x:1"}, "lab", "tcp://gpu:2376"),
        (DockerFlags(context="default"), {"DOCKER_HOST": "tcp://x:1"}, "lab", SOCKET),
        (DockerFlags(host="tcp://y:2"), {"DOCKER_HOST": "tcp://x:1"}, "lab", "tcp://y:2"),
        (DockerFlags(host="y:2"), {}, None, "tcp://y:2"),
        (DockerFlags(host="/run/d.sock"), {}, None, "unix:///run/d.sock"),
    ],
)
def test_the_engine_is_docker_s_choice(
    tmp_path: Path, flags: DockerFlags, environ: dict[str, str], current: str | None, url: str
) -> None:
    """Flags go before the environment, that before the context in use."""
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": current} if current else {}))
    make_context(tmp_path, "lab", "tcp://lab:2376")
    make_context(tmp_path, "gpu", "tcp://gpu:2376")

    assert url == find(flags, _environ(tmp_path, **environ)).url


def test_a_context_brings_its_certificates(tmp_path: Path) -> None:
    """And says whether to believe any."""
    make_context(tmp_path, "lab", "tcp://lab:2376", skip=True)
    secrets = tmp_path / "contexts" / "tls" / hashlib.sha256(b"lab").hexdigest() / "docker"

    found = find(DockerFlags(context="lab"), _environ(tmp_path))

    expected = Certificates(secrets / "ca.pem", None, None, verify=False)
    assert DockerHost("tcp://lab:2376", "lab", expected, typed=True) == found


def test_the_environment_s_certificates_count_for_a_host(tmp_path: Path) -> None:
    """As docker has them: DOCKER_TLS_VERIFY and DOCKER_CERT_PATH."""
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    environ = _environ(
        tmp_path, DOCKER_HOST="tcp://x:1", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path)
    )

    found = find(DockerFlags(tls_ca="/other.pem"), environ).certificates

    expected = Certificates(Path("/other.pem"), tmp_path / "cert.pem", tmp_path / "key.pem", verify=True)
    assert expected == found


@pytest.mark.parametrize(
    ("url", "machine"),
    [
        (SOCKET, None),
        ("npipe:////./pipe/docker_engine", None),
        ("tcp://localhost:2375", None),
        ("tcp://127.0.0.1:2375", None),
        ("tcp://gpu.lan:2376", "gpu.lan"),
        ("ssh://me@gpu.lan", "gpu.lan"),
    ],
)
def test_an_engine_knows_its_machine(url: str, machine: str | None) -> None:
    """A socket or loopback is this machine."""
    assert machine == DockerHost(url).machine


def test_an_unknown_context_is_said_to_be_unknown(tmp_path: Path) -> None:
    """With the command that lists them."""
    with pytest.raises(InvalidRequest, match="docker has no context `nowhere`"):
        find(DockerFlags(context="nowhere"), _environ(tmp_path))


def test_host_and_context_exclude_each_other(tmp_path: Path) -> None:
    """As in docker."""
    with pytest.raises(InvalidRequest, match="conflicting options"):
        find(DockerFlags(context="a", host="tcp://x"), _environ(tmp_path))


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    """With its path and what is wrong."""
    (tmp_path / "config.json").write_text("{")

    with pytest.raises(StoreError, match=r"config\.json` cannot be read"):
        find(DockerFlags(), _environ(tmp_path))

"""Transfers as people set them up: mirrors, certificates, limits, several daemons, names that share blobs."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.oci.credentials import Credentials
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.registry import Registry
from modelrunner.oci.transfer import copy
from modelrunner.testing.artifacts import Artifact, make_artifact
from modelrunner.testing.daemon import BIN, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.faults import Ending, cut
from modelrunner.testing.proxy import fault_proxy
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread
from modelrunner.testing.tls import make_authority, tls_front

MIB = 1 << 20
AT_RISK = 8 * 3 * MIB  # what is read ahead by all lanes, when something breaks


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """A model of 40 MiB in two layers."""
    return make_artifact(os.urandom(32 * MIB), os.urandom(8 * MIB))


@pytest.fixture(scope="module")
def registry(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real registry server with the artifact as `team/model:v1`; its address."""

    async def publish(address: str) -> None:
        reference = parse_reference(f"{address}/team/model:v1")
        async with Registry(credentials=Credentials({}), user_agent="test") as hub:
            await copy(artifact, hub.repository(reference), artifact.content, [reference])

    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        asyncio.run(publish(address))
        yield address


def _size(artifact: Artifact) -> int:
    return sum(blob.size for blob in artifact.content.blobs)


def _fake(*names: str, layer: bytes = b"weights") -> tuple[FakeRegistry, Digest]:
    """A registry in memory that has one model under some names; its id."""
    small = make_artifact(layer)
    fake = FakeRegistry()
    for name in names:
        fake.add(name, "v1", small.content, small.contents)
    return fake, small.id


@pytest.mark.registry
def test_a_model_under_another_name_in_the_same_registry_is_mounted(
    registry: str, artifact: Artifact, tmp_path: Path
) -> None:
    """A push under a new name sends the manifest alone: the registry has the blobs in the old repository."""
    with fault_proxy(registry) as proxy, running(tmp_path / "home") as runner:
        old, new = f"{proxy.address}/team/model:v1", f"{proxy.address}/me/mine:v1"
        runner.must("pull", old)
        runner.must("tag", old, new)
        said = runner.must("push", new)
        sent = sum(each.received for each in proxy.exchanges if "/uploads/" in each.request.target)
        runner.must("rm", old)
        runner.must("rm", new)
        runner.must("pull", new)
        listed = runner.must("list", "-q")

    assert "Model pushed successfully" in said
    assert sent == 0
    assert listed.split() == [artifact.id.short]


@pytest.mark.registry
def test_two_daemons_with_one_store_share_a_pull(registry: str, artifact: Artifact, tmp_path: Path) -> None:
    """Each blob is fetched by one of them; the other waits for it, and both have the model."""
    shared = str(tmp_path / "models")
    left = [cut(8 * MIB, Ending.PAUSE)]
    with (
        fault_proxy(registry, lambda request: left.pop() if left and request.is_blob else None) as proxy,
        running(tmp_path / "one", MODELS_PATH=shared) as one,
        running(tmp_path / "other", MODELS_PATH=shared) as other,
    ):
        name = f"{proxy.address}/team/model:v1"
        pulls = [
            subprocess.Popen(
                [BIN / "dmr", "pull", name],
                env=runner.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
            for runner in (one, other)
        ]
        proxy.wait_until(
            lambda: sum("/manifests/" in each.request.target for each in tuple(proxy.exchanges)) == 2
        )
        proxy.go_on()
        said = [process.communicate(timeout=60)[0] for process in pulls]
        listed = [runner.must("list", "-q").split() for runner in (one, other)]
        verified = one.run("verify")

    assert [process.returncode for process in pulls] == [0, 0]
    assert all("Model pulled successfully" in text for text in said)
    assert listed == [[artifact.id.short]] * 2
    assert verified.code == 0
    assert proxy.fetched <= _size(artifact) + 10_000  # the small configuration is read by both


@pytest.mark.registry
def test_a_limit_on_pulls_is_kept(registry: str, artifact: Artifact, tmp_path: Path) -> None:
    """No faster than it says; a quarter of a second may come at once."""
    with running(tmp_path / "home", DMR_PULL_LIMIT="20MB") as runner:
        started = time.monotonic()
        runner.must("pull", f"{registry}/team/model:v1")
        seconds = time.monotonic() - started

    assert seconds >= _size(artifact) / 20e6 - 0.25


def test_a_mirror_is_asked_for_what_is_on_docker_hub(tmp_path: Path) -> None:
    """As the daemon's environment says; the model has the name that was typed."""
    fake, model = _fake("ai/small")
    with (
        serving_in_thread(fake) as url,
        running(tmp_path / "home", MODEL_RUNNER_REGISTRY_MIRRORS=url) as runner,
    ):
        runner.must("pull", "ai/small:v1")
        listed = runner.must("list")

    assert model.short in listed
    assert "small:v1" in listed
    assert {seen.query.get("ns") for seen in fake.seen} == {"docker.io"}


def test_a_company_s_authority_is_believed_when_it_is_named(tmp_path: Path) -> None:
    """Without that, the pull ends with what is wrong."""
    fake, model = _fake("team/small")
    authority = make_authority(tmp_path / "authority")
    with serving_in_thread(fake) as url, tls_front(url.removeprefix("http://"), authority) as address:
        with running(tmp_path / "one") as runner:
            refused = runner.run("pull", f"{address}/team/small:v1")
        with running(tmp_path / "other", DMR_CA_CERT=str(authority.certificate)) as runner:
            runner.must("pull", f"{address}/team/small:v1")
            listed = runner.must("list", "-q").split()

    assert refused.code == 1
    assert "its certificate is not valid" in refused.err
    assert listed == [model.short]


def test_everything_goes_through_the_proxy_of_the_environment(tmp_path: Path) -> None:
    """Also to a registry whose name nobody here can resolve."""
    fake, model = _fake("team/small")
    with (
        serving_in_thread(fake) as url,
        running(tmp_path / "home", HTTP_PROXY=url, http_proxy=url, NO_PROXY="", no_proxy="") as runner,
    ):
        runner.must("pull", "registry.local:5000/team/small:v1")
        listed = runner.must("list", "-q").split()

    assert listed == [model.short]
    assert {seen.headers["host"] for seen in fake.seen} == {"registry.local:5000"}

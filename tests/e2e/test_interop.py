"""Other clients and ours on one real registry: what each reads of the other, and why not where it cannot.

| client | reads what we make | we read what it makes |
|---|---|---|
| skopeo | from a registry, same digest; our export as an archive | a copy; a layout, folder or archive |
| oras, Python | every layer, byte for byte, named by digest | with Docker's media types |
| RamaLama | manifest and names; a blob as a file of `http://` | no: without an engine it can make nothing |

oras names a file by the annotation `title`, which the format of our layers does not have. RamaLama takes
`oci://` only together with a container engine, and knows no registries without TLS. Without an engine its
Python code reads our manifests, and cannot keep a blob: see the last tests.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, config_cncf
from modelrunner.oci.digest import Digest
from modelrunner.oci.image_layout import Selection, image_layout
from modelrunner.oci.index import NamedModel
from modelrunner.oci.manifest import Manifest, parse_manifest
from modelrunner.oci.reference import parse_reference
from modelrunner.testing.artifacts import Artifact, Artifacts
from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.gguf import tiny_gguf

pytestmark = pytest.mark.registry

LICENSE = "Do as you like.\n"
TEMPLATE = "{{ messages }}\n"
PLAIN_HTTP = ("--src-tls-verify=false", "--dest-tls-verify=false")


@dataclass(frozen=True, slots=True)
class Bench:
    """A registry, a daemon that has pushed `team/model:v1` to it, and another with nothing."""

    registry: str
    here: Runner
    there: Runner
    files: Path
    id: str

    @property
    def name(self) -> str:
        return f"{self.registry}/team/model:v1"

    @property
    def gguf(self) -> bytes:
        return (self.files / "tiny.gguf").read_bytes()

    def manifest(self, name: str) -> Manifest:
        """What the registry has under a name, as skopeo reads it."""
        return parse_manifest(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}").encode())

    def ids(self) -> dict[str, str]:
        """What the other daemon has: ids by name."""
        models = json.loads(self.there.must("list", "--json"))
        return {name: model["id"] for model in models for name in model.get("tags", [""])}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("interop")
    tiny_gguf(folder / "tiny.gguf")
    (folder / "LICENSE").write_text(LICENSE)
    (folder / "template.jinja").write_text(TEMPLATE)
    with (
        docker_registry(folder) as registry,
        running(folder / "here") as here,
        running(folder / "there") as there,
    ):
        name = f"{registry}/team/model:v1"
        extra: list[str | Path] = ["-l", folder / "LICENSE", "--chat-template", folder / "template.jinja"]
        here.must("package", "--gguf", folder / "tiny.gguf", *extra, name)
        here.must("push", name)
        [model] = json.loads(here.must("list", "--json"))
        yield Bench(registry, here, there, folder, model["id"])


@pytest.fixture
def bench(machines: Bench) -> Bench:
    machines.there.must("purge", "--force")
    return machines


def skopeo(*arguments: str) -> str:
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def foreign(script: str, *arguments: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a library in a process of its own, whose warnings are its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


def _bytes_below(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ours


def test_what_is_pushed_deleted_and_pulled_is_the_same_model(bench: Bench) -> None:
    """The second pull finds it here; and when the tag has moved over there, the new content comes."""
    moved = f"{bench.registry}/team/moved:v1"
    skopeo("copy", *PLAIN_HTTP, f"docker://{bench.name}", f"docker://{moved}")
    bench.there.must("pull", moved)
    again = bench.there.must("pull", moved)
    first = bench.ids()
    tiny_gguf(bench.files / "newer.gguf", **{"general.name": "newer"})
    bench.here.must("package", "--gguf", bench.files / "newer.gguf", moved)
    bench.here.must("push", moved)
    bench.here.must("rm", moved)
    bench.here.must("pull", moved)
    bench.there.must("pull", moved)
    newer = str(bench.manifest(moved).digest)

    assert again.startswith("Using cached model")
    assert first == {moved: bench.id}
    assert bench.ids() == {moved: newer, "": bench.id}
    assert newer in bench.here.must("list", "--json")


# skopeo


def test_a_copy_between_registries_is_the_same_model(bench: Bench) -> None:
    """`skopeo copy` keeps the digest, and what we pull from there has the same id and the same bytes."""
    copied = f"{bench.registry}/elsewhere/model:v2"
    skopeo("copy", *PLAIN_HTTP, f"docker://{bench.name}", f"docker://{copied}")
    bench.there.must("pull", copied)

    assert bench.ids() == {copied: bench.id}
    assert {bench.gguf, LICENSE.encode(), TEMPLATE.encode()} <= _bytes_below(
        bench.there.home / ".docker" / "models" / "blobs"
    )


def test_a_folder_that_skopeo_made_is_loaded(bench: Bench, tmp_path: Path) -> None:
    """`oci:dir:tag` knows only a tag, so the model has no name here; with a name in full it has that."""
    skopeo("copy", PLAIN_HTTP[0], f"docker://{bench.name}", f"oci:{tmp_path}/layout:v1")
    anonymous = bench.there.must("load", tmp_path / "layout")
    skopeo("copy", PLAIN_HTTP[0], f"docker://{bench.name}", f"oci:{tmp_path}/named:{bench.registry}/a/b:c")
    named = bench.there.must("load", tmp_path / "named")

    assert anonymous == f"Loaded {bench.id} without a name\n"
    assert named == f"Loaded {bench.id} as {bench.registry}/a/b:c\n"
    assert bench.ids() == {f"{bench.registry}/a/b:c": bench.id}


@pytest.mark.parametrize("as_stream", [False, True])
def test_an_archive_that_skopeo_made_is_loaded(bench: Bench, tmp_path: Path, as_stream: bool) -> None:
    """From a file, and from a pipe."""
    archive = tmp_path / "model.tar"
    skopeo("copy", PLAIN_HTTP[0], f"docker://{bench.name}", f"oci-archive:{archive}:{bench.name}")
    if as_stream:
        with archive.open("rb") as file:
            subprocess.run([BIN / "dmr", "load"], stdin=file, env=bench.there.environ, check=True, timeout=30)
    else:
        bench.there.must("load", "-i", archive)

    assert bench.ids() == {bench.name: bench.id}


@pytest.mark.parametrize("flags", [(), ("--oci",)])
def test_skopeo_reads_what_we_export(bench: Bench, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Our archive is an OCI archive; from there to a registry, and pulled, it is the same model."""
    archive, pushed = tmp_path / "ours.tar", f"{bench.registry}/from/export:v1"
    bench.here.must("export", bench.name, *flags, "-o", archive)
    skopeo("copy", PLAIN_HTTP[1], f"oci-archive:{archive}", f"docker://{pushed}")
    bench.there.must("pull", pushed)

    assert bench.ids() == {pushed: bench.id}


def test_skopeo_finds_one_model_of_several_by_its_name(bench: Bench, tmp_path: Path) -> None:
    """Each is in the index under its whole name."""
    tiny_gguf(tmp_path / "other.gguf", **{"general.name": "other"})
    bench.here.must("package", "--gguf", tmp_path / "other.gguf", "ai/other")
    archive, pushed = tmp_path / "ours.tar", f"{bench.registry}/from/several:v1"
    bench.here.must("export", "ai/other", bench.name, "-o", archive)
    skopeo("copy", PLAIN_HTTP[1], f"oci-archive:{archive}:{bench.name}", f"docker://{pushed}")

    assert str(bench.manifest(pushed).digest) == bench.id


# oras

ORAS_PULL = """
import sys, oras.client
print(*oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2]), sep="\\n")
"""
ORAS_PUSH = """
import sys, oras.client
target, config, *files = sys.argv[1:]
oras.client.OrasClient(insecure=True).push(target=target, manifest_config=config, files=files, quiet=True)
"""


def test_oras_pulls_what_we_pushed(bench: Bench, tmp_path: Path) -> None:
    """Every layer, byte for byte."""
    done = foreign(ORAS_PULL, bench.name, tmp_path / "out", cwd=tmp_path)
    files = [Path(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, done.stderr)
    assert [file.read_bytes() for file in files] == [bench.gguf, LICENSE.encode(), TEMPLATE.encode()]
    assert [file.name for file in files] == [str(each.digest) for each in bench.manifest(bench.name).layers]


def test_what_oras_pushed_with_docker_s_types_is_pulled(bench: Bench, tmp_path: Path) -> None:
    """A configuration and weights, each with its type; the id is the digest that the registry has."""
    pushed = f"{bench.registry}/oras/model:v1"
    (tmp_path / "model.gguf").write_bytes(bench.gguf)
    config = {"config": {"format": "gguf"}, "rootfs": {"type": "rootfs", "diff_ids": []}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = foreign(
        ORAS_PUSH,
        pushed,
        f"config.json:{kinds.CONFIG_V01}",
        f"model.gguf:{kinds.GGUF_LAYER}",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    bench.there.must("pull", pushed)

    assert bench.ids() == {pushed: str(bench.manifest(pushed).digest)}
    assert bench.gguf in _bytes_below(bench.there.home / ".docker" / "models" / "blobs")


def test_what_oras_pushed_without_types_is_refused(bench: Bench, tmp_path: Path) -> None:
    """Its own type of configuration says nothing about a model, and the error names it."""
    pushed = f"{bench.registry}/oras/anything:v1"
    (tmp_path / "model.gguf").write_bytes(bench.gguf)
    (tmp_path / "config.json").write_text("{}")
    done = foreign(
        ORAS_PUSH, pushed, "config.json:application/vnd.unknown.config.v1+json", "model.gguf", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outcome = bench.there.run("pull", pushed)

    assert outcome.code != 0
    assert "application/vnd.unknown.config.v1+json" in outcome.err
    assert bench.ids() == {}


# RamaLama

RAMALAMA_MANIFEST = """
import json, sys
from ramalama.transports.oci import oci_artifact, spec
registry, repository, tag, out = sys.argv[1:]
client = oci_artifact.OCIRegistryClient(registry, repository, tag)
client.base_url = client.base_url.replace("https:", "http:")  # it has no word for a registry without TLS
manifest, digest = client.get_manifest()
layer = manifest["layers"][0]["digest"]
try:
    client.download_blob(layer, out)
    kept = ""
except Exception as exc:
    kept = repr(exc)
files = [file.name for file in oci_artifact._build_snapshot_files(client, manifest)]
known = spec.is_cncf_artifact_manifest(manifest)
print(json.dumps({"digest": digest, "known": known, "files": files, "kept": kept}))
"""


def _ramalama(*arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [BIN / "ramalama", "--store", str(home / "store"), *arguments],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "RAMALAMA_CONTAINER_ENGINE": ""},
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_ramalama_pulls_our_blob_as_a_file(bench: Bench, tmp_path: Path) -> None:
    """A registry's blob is a file of HTTP, which is one of its transports."""
    layer = bench.manifest(bench.name).layers[0].digest
    done = _ramalama("pull", f"http://{bench.registry}/v2/team/model/blobs/{layer}", home=tmp_path)

    assert done.returncode == 0, done.stderr
    assert bench.gguf in _bytes_below(tmp_path / "store")


def test_ramalama_wants_a_container_engine_for_oci(bench: Bench, tmp_path: Path) -> None:
    """It leaves `oci://` to podman or docker, of which there need not be one; it says so and ends."""
    done = _ramalama("--nocontainer", "pull", f"oci://{bench.name}", home=tmp_path)

    assert done.returncode != 0
    assert "OCI containers cannot be used with the --nocontainer option" in done.stdout + done.stderr


def test_ramalama_reads_our_manifest_and_cannot_keep_a_blob(bench: Bench, tmp_path: Path) -> None:
    """Of Docker's form it says that it is no artifact but an image, for the engine to pull.

    Version 0.25 verifies the blob that it has fetched, deletes it, and ends with a bare `raise` that has
    nothing to raise. With a wrong digest the error would be that one.
    """
    done = foreign(RAMALAMA_MANIFEST, bench.registry, "team/model", "v1", tmp_path / "blob", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    assert json.loads(done.stdout) == {
        "digest": bench.id,
        "known": False,
        "files": ["tiny.gguf", "LICENSE", "template.jinja"],
        "kept": "RuntimeError('No active exception to reraise')",
    }


async def test_ramalama_knows_our_modelpack_artifacts(bench: Bench, tmp_path: Path) -> None:
    """CNCF's form is the one it takes for an artifact; loaded from an archive, pushed, and read by it."""
    name = f"{bench.registry}/team/pack:v1"
    (tmp_path / "pack.tar").write_bytes(await _modelpack(tmp_path, name, bench.gguf))
    bench.there.must("load", tmp_path / "pack.tar")
    bench.there.must("push", name)
    done = foreign(RAMALAMA_MANIFEST, bench.registry, "team/pack", "v1", tmp_path / "blob", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    assert json.loads(done.stdout) == {
        "digest": bench.ids()[name],
        "known": True,
        "files": ["weights/model.gguf"],
        "kept": "RuntimeError('No active exception to reraise')",
    }


async def _modelpack(folder: Path, name: str, weights: bytes) -> bytes:
    """An archive of a CNCF ModelPack with one file."""
    digest = Digest("sha256", hashlib.sha256(weights).hexdigest())
    config = config_cncf(ModelConfig(format=kinds.Format.GGUF, architecture="llama"), [digest])
    manifest, _ = Artifacts(folder).make(
        [(kinds.CNCF_WEIGHT, "weights/model.gguf", weights)],
        config_type=kinds.CONFIG_CNCF,
        config=config,
        artifact_type=kinds.CNCF_MANIFEST,
    )
    source = Artifact(manifest, {digest: weights, manifest.config.digest: config})
    selection = Selection((NamedModel(manifest, (parse_reference(name),)),))
    return b"".join([piece async for piece in image_layout(source, selection)])

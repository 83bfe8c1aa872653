"""Package, look and convert, as a user does: every kind of model, into the store and into a real registry."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelrunner.models.description import kinds
from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.gguf import tiny_gguf

pytestmark = pytest.mark.registry


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with running(tmp_path / "home") as started:
        yield started


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry") as address:
        yield address


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a part of every kind in it."""
    root = tmp_path / "files"
    root.mkdir()
    tiny_gguf(root / "model.gguf", **{"tokenizer.chat_template": "{{ messages }}"})
    for number in (1, 2):
        tiny_gguf(root / f"sharded-0000{number}-of-00002.gguf", **{"split.no": number - 1})
    tiny_gguf(root / "vision.gguf", **{"general.architecture": "clip"})
    tiny_gguf(root / "adapter.gguf", **{"general.type": "adapter"})
    (root / "chat.jinja").write_text("{{ own }}")
    (root / "LICENSE").write_text("free")
    with zipfile.ZipFile(root / "model.dduf", "w") as archive:
        archive.writestr("model_index.json", "{}" * 500)
    (root / "tree" / "text_encoder").mkdir(parents=True)
    save_file({"a": np.zeros((4, 8), np.float16)}, root / "tree" / "model.safetensors")
    save_file({"b": np.zeros((4, 8), np.float16)}, root / "tree" / "text_encoder" / "model.safetensors")
    (root / "tree" / "config.json").write_text(
        json.dumps({"model_type": "llama", "max_position_embeddings": 4096})
    )
    (root / "tree" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ inside }}"}))
    (root / "tree" / "extra.bin").write_bytes(b"something that only the model knows")
    return root


def _stored(runner: Runner) -> set[str]:
    """Every file of the store, but for its locks."""
    root = runner.home / ".docker" / "models"
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and ".locks" not in path.parts
    }


def _documents(runner: Runner, name: str) -> tuple[dict[str, object], dict[str, object]]:
    """The manifest and the configuration of a model in the store."""
    root = runner.home / ".docker" / "models"
    (found,) = json.loads(f"[{runner.must('inspect', name)}]")
    manifest = json.loads((root / "manifests" / found["id"].replace(":", "/")).read_bytes())
    digest = manifest["config"]["digest"].replace(":", "/")
    return manifest, json.loads((root / "blobs" / digest).read_bytes())


def _layers(runner: Runner, name: str) -> list[tuple[str, str]]:
    manifest, _ = _documents(runner, name)
    layers = manifest["layers"]
    assert isinstance(layers, list)
    return [(layer["annotations"][kinds.FILEPATH], layer["mediaType"]) for layer in layers]


KINDS = {
    "single": ["--gguf", "model.gguf"],
    "sharded": ["--gguf", "sharded-00002-of-00002.gguf"],
    "parts": [
        *("--gguf", "model.gguf", "--mmproj", "vision.gguf", "--lora", "adapter.gguf"),
        *("--chat-template", "chat.jinja", "--license", "LICENSE", "--context-size", "512"),
    ],
    "tree": ["--safetensors-dir", "tree"],
    "alone": ["--safetensors", "tree/model.safetensors"],
    "dduf": ["--dduf", "model.dduf"],
    "pack": ["--gguf", "model.gguf", "--mmproj", "vision.gguf", "--lora", "adapter.gguf", "--format", "cncf"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_to_a_registry_without_the_store_and_is_the_same_model(
    runner: Runner, registry: str, files: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Pushed while it is packaged it has the digest that it has when it is packaged, pushed and pulled."""
    monkeypatch.chdir(files)
    before = _stored(runner)
    runner.must("package", *KINDS[kind], "--push", f"{registry}/team/straight:v1")
    after = _stored(runner)
    seen = json.loads(runner.must("inspect", "--remote", f"{registry}/team/straight:v1"))
    runner.must("package", *KINDS[kind], f"{registry}/team/stored:v1")
    stored = json.loads(runner.must("inspect", f"{registry}/team/stored:v1"))
    runner.must("rm", f"{registry}/team/stored:v1")
    runner.must("pull", f"{registry}/team/straight:v1")
    pulled = json.loads(runner.must("inspect", f"{registry}/team/straight:v1"))

    assert before == after
    assert seen["id"] == stored["id"] == pulled["id"]
    assert runner.run("verify").code == 0


def test_both_layouts_of_safetensors_are_written(
    runner: Runner, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree as it was, in form 0.2, and the weights alone, in 0.1."""
    monkeypatch.chdir(files)
    runner.must("package", *KINDS["tree"], "ai/tree")
    runner.must("package", *KINDS["alone"], "ai/alone")

    assert [
        ("config.json", kinds.FILE_LAYER),
        ("extra.bin", kinds.FILE_LAYER),
        ("model.safetensors", kinds.SAFETENSORS_LAYER),
        ("text_encoder/model.safetensors", kinds.SAFETENSORS_LAYER),
        ("tokenizer_config.json", kinds.FILE_LAYER),
    ] == _layers(runner, "ai/tree")
    assert [("model.safetensors", kinds.SAFETENSORS_LAYER)] == _layers(runner, "ai/alone")
    forms = [_documents(runner, name)[0]["config"] for name in ("ai/tree", "ai/alone")]
    assert [kinds.CONFIG_V02, kinds.CONFIG_V01] == [
        form["mediaType"] for form in forms if isinstance(form, dict)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_loses_nothing(
    runner: Runner, files: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Every layer, its type and its name, and all that the configuration says; what is added comes last."""
    monkeypatch.chdir(files)
    (files / "MORE").write_text("another licence")
    runner.must("package", *KINDS[kind], "ai/base")
    runner.must("package", "--from", "ai/base", "--license", "MORE", "ai/variant")
    (base, said), (variant, says) = (_documents(runner, name) for name in ("ai/base", "ai/variant"))

    added = kinds.CNCF_DOC if kind == "pack" else kinds.LICENSE_LAYER
    assert [*_layers(runner, "ai/base"), ("MORE", added)] == _layers(runner, "ai/variant")
    assert base.get("artifactType") == variant.get("artifactType")
    assert {key: value for key, value in said.items() if key not in {"rootfs", "modelfs"}} == {
        key: value for key, value in says.items() if key not in {"rootfs", "modelfs"}
    }


def test_a_model_goes_to_modelpack_and_back(
    runner: Runner, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CNCF's form has no place for is read from the weights again: header and context."""
    monkeypatch.chdir(files)
    runner.must("package", *KINDS["parts"], "ai/docker")
    runner.must("package", "--from", "ai/docker", "--format", "cncf", "ai/pack")
    runner.must("package", "--from", "ai/pack", "--format", "docker", "ai/again")

    assert _layers(runner, "ai/docker") == _layers(runner, "ai/again")
    assert all(kind.startswith("application/vnd.cncf.model.") for _, kind in _layers(runner, "ai/pack"))
    first, again = (json.loads(runner.must("inspect", name))["config"] for name in ("ai/docker", "ai/again"))
    assert {**first, "context_size": 2048} == again  # what was set by hand was lost on the way


@pytest.mark.parametrize("change", [["--context-size", "777"], ["--license", "LICENSE", "--format", "cncf"]])
def test_a_variant_is_pushed_without_the_store(
    runner: Runner, registry: str, files: Path, monkeypatch: pytest.MonkeyPatch, change: list[str]
) -> None:
    """Its layers come from the daemon, and nothing is added there (distribution 10.A18)."""
    monkeypatch.chdir(files)
    runner.must("package", *KINDS["single"], "ai/base")
    before = _stored(runner)
    runner.must("package", "--from", "ai/base", *change, "--push", f"{registry}/team/variant:v1")
    after, listed = _stored(runner), runner.must("list", "-q")
    runner.must("rm", "ai/base")
    runner.must("pull", f"{registry}/team/variant:v1")

    assert before == after
    assert "variant" not in listed
    assert runner.run("verify").code == 0
    if change[0] == "--context-size":
        assert (
            777 == json.loads(runner.must("inspect", f"{registry}/team/variant:v1"))["config"]["context_size"]
        )


def test_a_model_in_a_registry_is_shown_without_its_weights(
    runner: Runner, registry: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Architecture, parameters, quantization, context, template, size, and whether it fits."""
    monkeypatch.chdir(files)
    for kind in ("parts", "tree", "dduf"):
        runner.must("package", *KINDS[kind], "--push", f"{registry}/team/{kind}")
    gguf, tree, dduf = (
        json.loads(runner.must("inspect", "--remote", f"{registry}/team/{kind}"))
        for kind in ("parts", "tree", "dduf")
    )

    assert ("llama", "64", "MOSTLY_F16", 512, "{{ own }}", True) == _shown(gguf)
    assert ("llama", "64.00", "F16", 4096, "{{ inside }}", True) == _shown(tree)
    assert ("diffusers", None, None, None, None, True) == _shown(dduf)
    for seen in (gguf, tree, dduf):
        assert 0 < seen["details"]["size"] < seen["details"]["memory_needed"]
    assert "[]" == runner.must("list", "--json").strip()


def _shown(model: dict[str, dict[str, object]]) -> tuple[object, ...]:
    config, details = model["config"], model["details"]
    keys = ("architecture", "parameters", "quantization", "context_size")
    return (*(config.get(key) for key in keys), details.get("chat_template"), details["fits"])

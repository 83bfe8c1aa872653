"""Import, over the API: what is taken over, what is left out, and what is said of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from modelrunner.testing.gguf import tiny_gguf
from tests.server.conftest import Daemon


def _ollama(daemon: Daemon, name: str, *layers: tuple[str, bytes]) -> Path:
    """Lay a model out as Ollama does in the daemon's home; the file of its first layer."""
    root = daemon.folder / ".ollama" / "models"
    path = root / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
    path.parent.mkdir(parents=True)
    (root / "blobs").mkdir(exist_ok=True)
    described: list[dict[str, Any]] = []
    for kind, content in layers:
        digest = hashlib.sha256(content).hexdigest()
        (root / "blobs" / f"sha256-{digest}").write_bytes(content)
        media_type = f"application/vnd.ollama.image.{kind}"
        described.append({"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)})
    path.write_text(json.dumps({"schemaVersion": 2, "config": described[0], "layers": described}))
    return root / "blobs" / str(described[0]["digest"]).replace(":", "-")


def _gguf(daemon: Daemon, **keys: str) -> bytes:
    return tiny_gguf(daemon.folder / "made.gguf", **keys).read_bytes()


async def _said(daemon: Daemon, **request: object) -> list[tuple[str, str]]:
    headers = {"Accept": "application/json"}
    answer = await daemon.ask("POST", "/models/import", json=request, headers=headers)
    return [(line["type"], line["message"]) for line in answer.lines]


async def test_a_model_is_taken_over_and_said_how(daemon: Daemon) -> None:
    """And what of it means nothing here; the second time nothing is new."""
    layers = [("model", _gguf(daemon)), ("template", b"{{ .Prompt }}"), ("params", b"{}")]
    theirs = _ollama(daemon, "tiny", *layers)
    first = await _said(daemon, **{"from": "ollama"})
    again = await _said(daemon, **{"from": "ollama"})

    name = "registry.ollama.ai/library/tiny:latest"
    assert [
        ("progress", f"Imported {name} (hard link; without its params, template)"),
        ("success", "1 model imported"),
    ] == [(kind, text.replace("reflink", "hard link")) for kind, text in first]
    assert [("progress", f"{name} is here already"), ("success", "Nothing was imported")] == again
    assert layers[0][1] == theirs.read_bytes()


async def test_a_second_name_of_a_model_is_imported_too(daemon: Daemon) -> None:
    """And said to be that."""
    weights = _gguf(daemon)
    _ollama(daemon, "tiny", ("model", weights))
    first = _ollama(daemon, "same", ("model", weights))
    said = await _said(daemon, **{"from": "ollama"})
    again = await _said(daemon, **{"from": "ollama"})

    assert first.is_file()
    assert 1 == len(daemon.services.store.snapshot.models)
    assert "a new name of what is here already" in said[1][1]
    assert [("success", "2 models imported"), ("success", "Nothing was imported")] == [said[-1], again[-1]]


async def test_an_adapter_and_a_projector_come_along(daemon: Daemon) -> None:
    """As what they are."""
    _ollama(
        daemon,
        "all",
        ("model", _gguf(daemon)),
        ("adapter", _gguf(daemon, **{"general.type": "adapter"})),
        ("projector", _gguf(daemon, **{"general.architecture": "clip"})),
    )
    await _said(daemon)

    (model,) = daemon.services.store.snapshot.models
    assert ["gguf.v3", "gguf.v3.lora", "mmproj"] == [
        layer.media_type.rpartition(".ai.")[2] for layer in model.manifest.layers
    ]


async def test_looking_takes_nothing(daemon: Daemon) -> None:
    """It says how much there is."""
    weights = _gguf(daemon)
    _ollama(daemon, "tiny", ("model", weights))
    said = await _said(daemon, dry_run=True)

    name = "registry.ollama.ai/library/tiny:latest"
    assert [
        ("progress", f"Would import {name} (1 file, {len(weights)}.00B)"),
        ("success", "Nothing was imported"),
    ] == said
    assert () == daemon.services.store.snapshot.models


@pytest.mark.parametrize("suffix", ["gguf", "safetensors", "dduf"])
async def test_looking_says_what_would_be_left_out(daemon: Daemon, suffix: str) -> None:
    """In the words of the import itself."""
    path = daemon.folder / f"model.{suffix}"
    path.write_bytes(b"these are notes")
    seen = await _said(daemon, dry_run=True, **{"from": str(path)})
    done = await _said(daemon, **{"from": str(path)})

    assert done == seen
    assert "warning" == seen[0][0]


async def test_one_bad_model_keeps_no_other_out(daemon: Daemon) -> None:
    """A damaged one, one that is no model, and one whose name is none are said, and the rest comes."""
    _ollama(daemon, "bad", ("model", _gguf(daemon, **{"general.name": "bad"}))).write_bytes(_gguf(daemon))
    _ollama(daemon, "text", ("model", b"these are notes"))
    _ollama(daemon, "a..b", ("model", _gguf(daemon, **{"general.name": "odd"})))
    _ollama(daemon, "good", ("model", _gguf(daemon, **{"general.name": "good"})))
    said = await _said(daemon)

    assert ["warning", "warning", "warning", "progress", "success"] == sorted(
        (kind for kind, _ in said), key=["warning", "progress", "success"].index
    )
    assert ("success", "1 model imported") == said[-1]
    assert 1 == len(daemon.services.store.snapshot.models)


async def test_some_models_can_be_named(daemon: Daemon) -> None:
    """Also when the name of another one is none; one that cannot be used says why."""
    for name in ("one", "two", "a..b"):
        _ollama(daemon, name, ("model", _gguf(daemon, **{"general.name": name})))
    _ollama(daemon, "words", ("params", b"{}"))
    said = await _said(daemon, names=["registry.ollama.ai/library/two"])
    unusable = await _said(daemon, names=["registry.ollama.ai/library/words"])

    assert ("success", "1 model imported") == said[-1]
    assert "registry.ollama.ai/library/two" in said[0][1]
    assert "it has no GGUF weights" in unusable[0][1]


@pytest.mark.parametrize(
    ("request_body", "status", "words"),
    [
        ({"from": "nobody"}, 400, "no program that models can be imported from: `nobody`"),
        ({"from": "relative/path"}, 400, "no program that"),
        ({"from": "/no/such/place"}, 400, "no file or folder"),
        ({"from": "ollama"}, 400, "nothing to import from ollama"),
        ({"names": ["ai/nothing"]}, 404, "nothing to import as `ai/nothing`"),
    ],
)
async def test_what_is_not_there_is_a_status(
    daemon: Daemon, request_body: dict[str, object], status: int, words: str
) -> None:
    """Before the first line."""
    answer = await daemon.ask("POST", "/models/import", json=request_body)

    assert status == answer.status
    assert words in answer.text


@pytest.mark.parametrize("link", [False, True])
async def test_loose_files_are_shared_only_when_that_is_asked_for(daemon: Daemon, *, link: bool) -> None:
    """Their owner may write to them."""
    path = tiny_gguf(daemon.folder / "Loose-Q8_0.gguf")
    said = await _said(daemon, link=link, **{"from": str(path)})

    (model,) = daemon.services.store.snapshot.models
    ours = daemon.services.store.blob_path(model.manifest.layers[0].digest)
    assert "local/loose:Q8_0" == model.tags[0].familiar
    assert path.samefile(ours) == (link and "reflink" not in said[0][1])


@pytest.mark.parametrize("title", ["mine", "of another length"])
async def test_a_name_of_another_model_is_left_to_it(daemon: Daemon, title: str) -> None:
    """Whether it is of the same size or not; what would free the name is said, and then it is imported."""
    mine = await daemon.add("docker.io/local/loose:Q8_0", title="tiny")
    path = tiny_gguf(daemon.folder / "Loose-Q8_0.gguf", **{"general.name": title})
    refused = await _said(daemon, **{"from": str(path)})
    (model,) = daemon.services.store.snapshot.models
    await daemon.ask("DELETE", "/models/local/loose:Q8_0")
    freed = await _said(daemon, **{"from": str(path)})
    again = await _said(daemon, **{"from": str(path)})

    assert (mine, "warning", ("success", "Nothing was imported")) == (model.id, refused[0][0], refused[-1])
    assert "another model here has the name `local/loose:Q8_0`; `dmr rm local/loose:Q8_0`" in refused[0][1]
    assert [("success", "1 model imported"), ("success", "Nothing was imported")] == [freed[-1], again[-1]]

"""Models as Ollama keeps them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.models.description import kinds
from modelrunner.models.local.candidate import Candidate, Unusable
from modelrunner.models.local.ollama_store import read
from modelrunner.oci.digest import Digest

HOME = "registry.ollama.ai/library"


def _add(
    root: Path, name: str, layers: Sequence[tuple[str, bytes]], *, old: bool = False, size: int | None = None
) -> Path:
    """Lay a model out, its layers given by Ollama's kind and content; the file of its manifest."""
    blobs = root / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    described = []
    for kind, content in layers:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / f"sha256{':' if old else '-'}{digest}").write_bytes(content)
        described.append(
            {
                "mediaType": f"application/vnd.ollama.image.{kind}",
                "digest": f"sha256:{digest}",
                "size": len(content) if size is None else size,
            }
        )
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": described[0], "layers": described}
    path.write_text(json.dumps(manifest))
    return path


def test_a_model_has_its_parts_with_names(tmp_path: Path) -> None:
    """Layers become Docker's kinds; what is for Ollama alone is left out, and said."""
    _add(
        tmp_path,
        f"{HOME}/LLaVA/7b",
        [
            ("model", b"weights"),
            ("projector", b"vision"),
            ("adapter", b"lora"),
            ("license", b"one"),
            ("license", b"two"),
            ("template", b"{{ .Prompt }}"),
            ("params", b"{}"),
        ],
    )
    (found,) = read(tmp_path)

    assert isinstance(found, Candidate)
    assert (f"{HOME}/llava:7b", True, ("params", "template")) == (found.name, found.settled, found.left_out)
    assert [
        ("model.gguf", kinds.GGUF_LAYER),
        ("mmproj.gguf", kinds.PROJECTOR_LAYER),
        ("adapter.gguf", kinds.LORA_LAYER),
        ("LICENSE", kinds.LICENSE_LAYER),
        ("LICENSE-2", kinds.LICENSE_LAYER),
    ] == [(part.name, part.media_type) for part in found.parts]
    assert Digest.of(b"weights") == found.parts[0].digest
    assert b"weights" == found.parts[0].path.read_bytes()


def test_the_older_names_of_blobs_are_known(tmp_path: Path) -> None:
    """With a colon, before 0.1.32."""
    _add(tmp_path, f"{HOME}/old/latest", [("model", b"weights")], old=True)
    (found,) = read(tmp_path)

    assert isinstance(found, Candidate)
    assert b"weights" == found.parts[0].path.read_bytes()


def test_a_model_that_cannot_be_used_keeps_no_other_out(tmp_path: Path) -> None:
    """A missing or short blob, no weights, a broken manifest: each with its reason."""
    _add(tmp_path, f"{HOME}/good/latest", [("model", b"weights")])
    _add(tmp_path, f"{HOME}/short/latest", [("model", b"other")], size=6)
    _add(tmp_path, f"{HOME}/words/latest", [("params", b"{}")])
    _add(tmp_path, f"{HOME}/broken/latest", [("model", b"x")]).write_text("{")
    _add(tmp_path, f"{HOME}/missing/latest", [("model", b"gone")])
    (tmp_path / "blobs" / f"sha256-{hashlib.sha256(b'gone').hexdigest()}").unlink()
    found = {each.name: each for each in read(tmp_path)}

    assert isinstance(found.pop(f"{HOME}/good:latest"), Candidate)
    reasons = {name: each.reason for name, each in found.items() if isinstance(each, Unusable)}
    assert {f"{HOME}/{name}:latest" for name in ("short", "words", "broken", "missing")} == set(reasons)
    assert "has 5 bytes instead of 6" in reasons[f"{HOME}/short:latest"]
    assert "no GGUF weights" in reasons[f"{HOME}/words:latest"]
    assert "is missing" in reasons[f"{HOME}/missing:latest"]


@pytest.mark.parametrize("digest", ["sha256:../../../../etc/passwd", "sha256-x", "sha256:" + "A" * 64])
def test_a_digest_that_is_none_is_no_path(tmp_path: Path, digest: str) -> None:
    """CVE-2024-37032 was exactly this, in the program whose store it is."""
    path = _add(tmp_path, f"{HOME}/evil/latest", [("model", b"weights")])
    manifest = json.loads(path.read_text())
    manifest["layers"][0]["digest"] = manifest["config"]["digest"] = digest
    path.write_text(json.dumps(manifest))
    (found,) = read(tmp_path)

    assert isinstance(found, Unusable)


def test_a_blob_that_is_a_link_out_of_the_store_is_refused(tmp_path: Path) -> None:
    """As is a manifest that is one."""
    (tmp_path / "secret").write_bytes(b"weights")
    root = tmp_path / "store"
    _add(root, f"{HOME}/evil/latest", [("model", b"weights")])
    blob = root / "blobs" / f"sha256-{hashlib.sha256(b'weights').hexdigest()}"
    blob.unlink()
    blob.symlink_to(tmp_path / "secret")
    manifest = _add(root, f"{HOME}/worse/latest", [("model", b"x")])
    manifest.rename(tmp_path / "elsewhere")
    manifest.symlink_to(tmp_path / "elsewhere")

    assert {Unusable} == {type(each) for each in read(root)}


def test_another_folder_is_no_store(tmp_path: Path) -> None:
    """With what it has to have."""
    with pytest.raises(InvalidRequest, match="no Ollama store"):
        list(read(tmp_path))

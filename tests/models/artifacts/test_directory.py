from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.artifacts.directory import model_files
from modelrunner.models.description import kinds


def _write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _names(root: Path) -> list[str]:
    return [file.name for file in model_files(root)]


def test_every_file_is_listed_with_its_folder_in_lexical_order(tmp_path: Path) -> None:
    """And with the layer type that its name gives it."""
    _write(
        tmp_path,
        "model.safetensors",
        "config.json",
        "LICENSE",
        "chat_template.jinja",
        "text_encoder/model.safetensors",
        "spiece.model",
    )

    assert [
        ("LICENSE", kinds.LICENSE_LAYER),
        ("chat_template.jinja", kinds.TEMPLATE_LAYER),
        ("config.json", kinds.FILE_LAYER),
        ("model.safetensors", kinds.SAFETENSORS_LAYER),
        ("spiece.model", kinds.FILE_LAYER),
        ("text_encoder/model.safetensors", kinds.SAFETENSORS_LAYER),
    ] == [(file.name, file.media_type) for file in model_files(tmp_path)]


def test_hidden_names_are_left_out(tmp_path: Path) -> None:
    """Files, and folders with everything in them."""
    _write(tmp_path, "model.safetensors", ".git/config", ".DS_Store", "sub/.hidden")

    assert ["model.safetensors"] == _names(tmp_path)


def test_a_link_may_lead_to_a_place_inside_and_nowhere_else(tmp_path: Path) -> None:
    """So that nobody packages their keys by accident."""
    _write(tmp_path, "model/model.safetensors", "secret.txt", "elsewhere/a.json")
    root = tmp_path / "model"
    (root / "same.safetensors").symlink_to("model.safetensors")
    (root / "secret.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to("loop")

    assert ["model.safetensors", "same.safetensors"] == _names(root)


def test_a_snapshot_of_the_hugging_face_cache_is_followed(tmp_path: Path) -> None:
    """It is all links into the blobs beside it."""
    entry = tmp_path / "models--org--name"
    _write(entry, "blobs/abc", "blobs/def")
    snapshot = entry / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    (snapshot / "config.json").symlink_to("../../blobs/def")

    assert ["config.json", "model.safetensors"] == _names(snapshot)


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no files found in directory: "), (["a.txt"], "no weight files .* found in directory: ")],
)
def test_a_directory_without_a_model_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    """With what is missing."""
    _write(tmp_path, *names)

    with pytest.raises(UnsupportedModel, match=message):
        model_files(tmp_path)


def test_what_is_no_directory_is_said_so(tmp_path: Path) -> None:
    """Missing, or a file."""
    _write(tmp_path, "file")

    with pytest.raises(InvalidRequest, match="does not exist"):
        model_files(tmp_path / "missing")
    with pytest.raises(InvalidRequest, match="is not a directory"):
        model_files(tmp_path / "file")

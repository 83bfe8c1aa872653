"""Where other programs keep their models."""

from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.models.local.candidate import Origin
from modelrunner.models.local.foreign_stores import find, find_at, find_everywhere, usual_places

HOME = Path("/home/me")


@pytest.mark.parametrize(
    ("origin", "environ", "first"),
    [
        (Origin.OLLAMA, {}, "/home/me/.ollama/models"),
        (Origin.OLLAMA, {"OLLAMA_MODELS": "/data/ollama"}, "/data/ollama"),
        (Origin.HUGGING_FACE, {}, "/home/me/.cache/huggingface/hub"),
        (Origin.HUGGING_FACE, {"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        (Origin.HUGGING_FACE, {"HF_HOME": "/hf", "XDG_CACHE_HOME": "/c"}, "/hf/hub"),
        (Origin.HUGGING_FACE, {"HF_HUB_CACHE": "/hub", "HF_HOME": "/hf"}, "/hub"),
        (Origin.HUGGING_FACE, {"HF_HUB_CACHE": "  "}, "/home/me/.cache/huggingface/hub"),
        (Origin.LM_STUDIO, {}, "/home/me/.lmstudio/models"),
    ],
)
def test_a_program_s_own_variables_say_where_it_keeps_models(
    origin: Origin, environ: dict[str, str], first: str
) -> None:
    """And else its usual place."""
    assert Path(first) == usual_places(origin, environ, HOME)[0]


def test_only_the_first_place_that_is_there_is_read(tmp_path: Path) -> None:
    """The others are of older versions."""
    for name in ("one", "two"):
        (tmp_path / name / "publisher" / name).mkdir(parents=True)
        (tmp_path / name / "publisher" / name / f"{name}.gguf").write_bytes(b"x")
    found = find(Origin.LM_STUDIO, (tmp_path / "none", tmp_path / "one", tmp_path / "two"))

    assert ["huggingface.co/publisher/one:latest"] == [each.name for each in found]


def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """With what can be done instead."""
    with pytest.raises(InvalidRequest, match="nothing to import from ollama") as caught:
        find(Origin.OLLAMA, (tmp_path / "none",))

    assert "--from PATH" in (caught.value.hint or "")


def test_one_odd_folder_keeps_no_other_program_out(tmp_path: Path) -> None:
    """Nobody asked for it by name."""
    (tmp_path / ".ollama" / "models").mkdir(parents=True)
    folder = tmp_path / ".lmstudio" / "models" / "publisher" / "model"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(b"x")
    found = find_everywhere({}, tmp_path)

    assert ["huggingface.co/publisher/model:latest"] == [each.name for each in found]


def test_a_path_is_read_as_whose_layout_it_has(tmp_path: Path) -> None:
    """A store elsewhere than in its usual place is a store all the same, also by the folder above it."""
    manifests = tmp_path / "ollama" / "models" / "manifests" / "registry" / "library" / "m"
    manifests.mkdir(parents=True)
    (tmp_path / "ollama" / "models" / "blobs").mkdir()
    (manifests / "latest").write_text("{")
    snapshot = tmp_path / "cache" / "hub" / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "m.gguf").write_bytes(b"x")
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "x.gguf").write_bytes(b"x")

    theirs = (Origin.HUGGING_FACE, "huggingface.co/a/b:latest")
    assert {
        "ollama": [(Origin.OLLAMA, "registry/library/m:latest")],
        "ollama/models": [(Origin.OLLAMA, "registry/library/m:latest")],
        "cache": [theirs],
        "cache/hub": [theirs],
        "cache/hub/models--a--b": [theirs],
        "loose": [(Origin.FILES, "local/x:latest")],
        "loose/x.gguf": [(Origin.FILES, "local/x:latest")],
    } == {
        name: [(each.origin, each.name) for each in find_at(tmp_path / name)]
        for name in (
            "ollama",
            "ollama/models",
            "cache",
            "cache/hub",
            "cache/hub/models--a--b",
            "loose",
            "loose/x.gguf",
        )
    }


def test_a_path_where_nothing_is_is_said_so(tmp_path: Path) -> None:
    """By the path that was typed, whether the path is there or not."""
    with pytest.raises(InvalidRequest, match=r"no file or folder: `.*nothing`"):
        find_at(tmp_path / "nothing")
    with pytest.raises(InvalidRequest, match=rf"nothing to import in `{tmp_path}`") as caught:
        find_at(tmp_path)

    assert "the folder that has the models in it" in (caught.value.hint or "")

"""What engines a model's files are for, and in which order models are shown."""

import pytest

from modelrunner.models.description import kinds
from modelrunner.models.description.kinds import FileKind
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.search.found import Found, Source, backend_of, layer_kinds, ordered


@pytest.mark.parametrize(
    ("files", "backend"),
    [
        ([], "unknown"),
        ([FileKind.LICENSE], "unknown"),
        ([FileKind.GGUF], "llama.cpp"),
        ([FileKind.SAFETENSORS], "vllm"),
        ([FileKind.DDUF], "diffusers"),
        ([FileKind.SAFETENSORS, FileKind.GGUF, FileKind.SAFETENSORS], "llama.cpp, vllm"),
    ],
)
def test_the_files_say_which_engines_would_run_them(files: list[FileKind], backend: str) -> None:
    """Each engine is named once, and always in the same order."""
    assert backend == backend_of(files)


@pytest.mark.parametrize(
    ("media_type", "path", "kind"),
    [
        (kinds.GGUF_LAYER, None, FileKind.GGUF),
        (kinds.CNCF_WEIGHT_GGUF, None, FileKind.GGUF),
        (kinds.SAFETENSORS_LAYER, "weights.gguf", FileKind.SAFETENSORS),
        (kinds.CNCF_WEIGHT_SAFETENSORS, None, FileKind.SAFETENSORS),
        (kinds.DDUF_LAYER, None, FileKind.DDUF),
        ("application/octet-stream", "deep/weights.gguf", FileKind.GGUF),
        ("application/octet-stream", None, FileKind.UNKNOWN),
    ],
)
def test_a_layer_is_what_its_type_says_and_else_what_its_name_says(
    media_type: str, path: str | None, kind: FileKind
) -> None:
    annotations = {} if path is None else {kinds.FILEPATH: path}
    layer = Descriptor(media_type, Digest.of(b"x"), 1, annotations)
    manifest = Manifest(b"{}", "", Descriptor("application/x", Digest.of(b"c"), 1), (layer,))

    assert [kind] == layer_kinds(manifest)


def test_docker_hub_s_come_first_then_what_is_downloaded_most() -> None:
    """Names decide between equals, so that two searches look alike; more than the limit is left out."""
    rows = [
        Found("org/much", Source.HUGGING_FACE, downloads=9_000),
        Found("ai/b", Source.DOCKER_HUB, downloads=5),
        Found("ai/a", Source.DOCKER_HUB, downloads=5),
        Found("ai/c", Source.DOCKER_HUB, downloads=7),
        Found("org/little", Source.HUGGING_FACE, downloads=1),
    ]

    assert ["ai/c", "ai/a", "ai/b", "org/much"] == [row.name for row in ordered(rows, 4)]


def test_a_model_is_pulled_by_a_name_that_says_where_it_is() -> None:
    assert "hf.co/org/m" == Found("org/m", Source.HUGGING_FACE).reference
    assert "ai/m" == Found("ai/m", Source.DOCKER_HUB).reference

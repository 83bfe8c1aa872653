"""Which files of a folder belong together."""

from pathlib import PurePosixPath

import pytest

from modelrunner.models.description.gguf_sets import GGUFSet, group


def _grouped(*names: str) -> list[tuple[list[str], str | None]]:
    found = group(PurePosixPath(name) for name in names)
    return [(list(map(str, each.weights)), str(each.projector) if each.projector else None) for each in found]


def test_shards_are_one_set_in_their_order() -> None:
    """Whatever the order of the listing; another count is another set, and so is another folder."""
    assert [
        (["a/m-00001-of-00002.gguf"], None),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], None),
        (["m-00001-of-00003.gguf"], None),
    ] == _grouped(
        "m-00002-of-00002.gguf", "m-00001-of-00003.gguf", "a/m-00001-of-00002.gguf", "m-00001-of-00002.gguf"
    )


def test_other_files_are_passed_over() -> None:
    """A set is of weights; suffixes count in any case."""
    assert [(["M.GGUF"], None)] == _grouped("M.GGUF", "config.json", "m.gguf.txt", "m.safetensors")


@pytest.mark.parametrize(
    ("projectors", "chosen"),
    [
        (["mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        (["mmproj-BF16.gguf", "mmproj-F32.gguf"], "mmproj-BF16.gguf"),
        (["mmproj-F32.gguf"], "mmproj-F32.gguf"),
        (["sub/mmproj-F32.gguf", "mmproj-F16.gguf"], "sub/mmproj-F32.gguf"),
        (["other/mmproj-F16.gguf"], "None"),
    ],
)
def test_a_projector_is_that_of_the_folder_or_one_above(projectors: list[str], chosen: str) -> None:
    """Of several of one folder the one of 16 bits (distribution 10.A7, 11.8)."""
    ((_, projector),) = _grouped("sub/model.gguf", *projectors)

    assert chosen == str(projector)


@pytest.mark.parametrize(
    ("stem", "variant"),
    [
        ("model-Q4_K_M", "Q4_K_M"),
        ("model.Q4_K_M", "Q4_K_M"),
        ("model_Q4_K_M", "Q4_K_M"),
        ("Model-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("m-IQ4_XS", "IQ4_XS"),
        ("m-TQ1_0", "TQ1_0"),
        ("m-MXFP4_MOE", "MXFP4_MOE"),
        ("m-bf16", "bf16"),
        ("Q8_0", "Q8_0"),
        ("Qwen2-7B", None),
        ("model", None),
    ],
)
def test_the_quantization_is_the_last_one_in_the_name(stem: str, variant: str | None) -> None:
    """As it is written there (distribution 11.9)."""
    assert variant == GGUFSet(stem, ()).variant

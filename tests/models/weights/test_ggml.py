"""Names of quantisations."""

import pytest

from modelrunner.models.weights.ggml import FILE_TYPES, TENSOR_TYPES, guess, quantization

NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}


def tensors(**counts: int) -> list[tuple[str, int]]:
    return [(f"blk.{i}.x", NUMBERS[name]) for name, count in counts.items() for i in range(count)]


@pytest.mark.parametrize(
    ("file_type", "label"),
    [
        (0, "MOSTLY_F32"),
        (1, "MOSTLY_F16"),
        (3, "MOSTLY_Q4_1"),
        (4, "MOSTLY_Q4_1_SOME_F16"),
        (7, "MOSTLY_Q8_0"),
        (10, "MOSTLY_Q2_K"),
        (15, "MOSTLY_Q4_K_M"),
        (19, "MOSTLY_IQ2_XXS"),
        (25, "MOSTLY_IQ4_NL"),
        (32, "MOSTLY_BF16"),
        (38, "MOSTLY_MXFP4"),
        (39, "Unknown"),
        (40, "GGUFFileType(40)"),
        (-1, "GGUFFileType(-1)"),
        (None, "Unknown"),
        ("15", "Unknown"),
        (True, "Unknown"),
    ],
)
def test_the_file_type_names_the_quantisation(file_type: object, label: str) -> None:
    """By the header's number; without one, and without known tensors, it is unknown."""
    assert label == quantization(file_type, [], diffusion=False)


def test_there_are_39_file_types() -> None:
    """The index is the number that stands in files."""
    assert len(FILE_TYPES) == 39


@pytest.mark.parametrize(
    ("counts", "label"),
    [
        ({}, "Unknown"),
        ({"F32": 5}, "MOSTLY_F32"),
        ({"F32": 5, "F16": 2}, "MOSTLY_F16"),
        ({"Q8_0": 9, "F32": 5}, "MOSTLY_Q8_0"),
        ({"Q2_K": 9, "Q3_K": 4}, "MOSTLY_Q2_K"),
        ({"Q2_K": 9, "Q4_K": 4, "Q5_K": 1}, "MOSTLY_Q2_K_S"),
        ({"Q3_K": 9, "Q8_0": 1}, "MOSTLY_Q3_K_L"),
        ({"Q3_K": 9, "Q5_K": 2}, "MOSTLY_Q3_K_L"),
        ({"Q3_K": 9, "Q5_K": 2, "Q4_K": 3}, "MOSTLY_Q3_K_M"),
        ({"Q3_K": 9, "Q4_K": 2}, "MOSTLY_Q3_K_M"),
        ({"Q3_K": 9, "Q4_K": 1}, "MOSTLY_Q3_K_S"),
        ({"Q4_K": 9, "Q6_K": 2}, "MOSTLY_Q4_K_M"),
        ({"Q4_K": 9, "Q3_K": 2}, "MOSTLY_Q3_K_M"),
        ({"Q4_K": 9, "Q6_K": 1}, "MOSTLY_Q4_K_S"),
        ({"Q5_K": 9, "Q6_K": 2}, "MOSTLY_Q5_K_M"),
        ({"Q5_K": 9}, "MOSTLY_Q5_K_S"),
        ({"Q6_K": 9}, "MOSTLY_Q6_K"),
        ({"IQ2_XS": 9, "IQ4_XS": 2}, "MOSTLY_IQ2_S"),
        ({"IQ2_XS": 9}, "MOSTLY_IQ2_XS"),
        ({"IQ2_S": 9}, "MOSTLY_IQ2_M"),
        ({"IQ3_S": 9, "IQ3_XXS": 2}, "MOSTLY_IQ3_XS"),
        ({"IQ3_S": 9}, "MOSTLY_IQ3_S"),
        ({"BF16": 9}, "MOSTLY_BF16"),
        ({"I8": 9}, "Unknown"),
    ],
)
def test_the_tensors_name_the_quantisation_where_the_header_does_not(
    counts: dict[str, int], label: str
) -> None:
    """The most frequent type wins, F32 only alone, and better types mixed in tell the size."""
    assert label == guess(tensors(**counts), diffusion=False)


def test_only_tensors_of_weights_are_counted() -> None:
    """Names that no language model's weights have say nothing; neither do types that nobody knows."""
    named = [("rope_freqs", 0), ("x.bias", 0), ("blk.0.a", 999), ("first_norm", 1), ("a.weight", 1)]

    assert guess(named, diffusion=False) == "MOSTLY_F16"
    assert guess([("blk.0.a", 1)], diffusion=True) == "Unknown"

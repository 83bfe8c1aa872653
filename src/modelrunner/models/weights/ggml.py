"""The numbers that GGUF files use for tensor types and file types, and how a quantisation gets its name.

Tables only; reading files is the job of `gguf.py`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "Unknown"
_GUESSED = 39  # the reference's number for "look at the tensors instead"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A way to store numbers: `elements` of them take `bytes` bytes. Retired types have no size any more."""

    name: str
    elements: int = 0
    bytes: int = 0


# Source: ggml.h `enum ggml_type` and the block structures of ggml-common.h. Q4_2 and Q4_3 were removed there.
TENSOR_TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    4: TensorType("Q4_2"),
    5: TensorType("Q4_3"),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 36),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4),
    27: TensorType("I64", 1, 8),
    28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    31: TensorType("Q4_0_4_4", 32, 18),
    32: TensorType("Q4_0_4_8", 32, 18),
    33: TensorType("Q4_0_8_8", 32, 18),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    36: TensorType("IQ4_NL_4_4", 32, 18),
    37: TensorType("IQ4_NL_4_8", 32, 18),
    38: TensorType("IQ4_NL_8_8", 32, 18),
    39: TensorType("MXFP4", 32, 17),
}

# The index is the number. Source: llama.h `enum llama_ftype`, with the labels that model lists show.
FILE_TYPES = (
    *("F32", "F16", "Q4_0", "Q4_1", "Q4_1_SOME_F16", "Q4_2", "Q4_3", "Q8_0", "Q5_0", "Q5_1"),
    *("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS"),
    *("IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M"),
    *("IQ4_XS", "IQ1_M", "BF16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "MXFP4"),
)


def quantization(file_type: object, tensors: Iterable[tuple[str, int]], *, diffusion: bool) -> str:
    """Name the quantisation from the header's file type, else from the tensors' names and types."""
    if not isinstance(file_type, int) or isinstance(file_type, bool) or file_type == _GUESSED:
        return guess(tensors, diffusion=diffusion)
    if 0 <= file_type < len(FILE_TYPES):
        return f"MOSTLY_{FILE_TYPES[file_type]}"
    return f"GGUFFileType({file_type})"


def guess(tensors: Iterable[tuple[str, int]], *, diffusion: bool) -> str:
    """Name the quantisation that most weights have; `Unknown` when none is known.

    Source: gguf-parser-go `guessFileType`, so that both show a model alike.
    """
    counts = Counter(
        TENSOR_TYPES[number].name
        for name, number in tensors
        if number in TENSOR_TYPES and _counts(name, diffusion=diffusion)
    )
    # Equal counts would otherwise leave the answer to the order of the tensors.
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if not ranked:
        return UNKNOWN
    main = ranked[1] if ranked[0] == "F32" and len(ranked) > 1 else ranked[0]
    label = _refine(main, counts, rarest=ranked[-1])
    return f"MOSTLY_{label}" if label in FILE_TYPES else UNKNOWN


def _counts(name: str, *, diffusion: bool) -> bool:
    if diffusion:
        return name.endswith(".weight")
    return name.startswith(("token_embd", "blk.")) or "_norm" in name or name.endswith(".weight")


def _refine(main: str, counts: Counter[str], *, rarest: str) -> str:
    """Tell the sizes S, M and L of a mixture by the better types that it mixes in."""
    match main:
        case "Q2_K":
            return "Q2_K_S" if rarest == "Q5_K" else "Q2_K"
        case "Q3_K":
            large = counts["Q8_0"] or (counts["Q5_K"] > 1 and not counts["Q4_K"])
            return "Q3_K_L" if large else "Q3_K_M" if counts["Q4_K"] > 1 else "Q3_K_S"
        case "Q4_K":
            return "Q4_K_M" if counts["Q6_K"] > 1 else "Q3_K_M" if counts["Q3_K"] > 1 else "Q4_K_S"
        case "Q5_K":
            return "Q5_K_M" if counts["Q6_K"] > 1 else "Q5_K_S"
        case "IQ2_XS":
            return "IQ2_S" if counts["IQ4_XS"] > 1 else "IQ2_XS"
        case "IQ2_S":
            return "IQ2_M"
        case "IQ3_S":
            return "IQ3_XS" if counts["IQ3_XXS"] > 1 else "IQ3_S"
        case _:
            return main

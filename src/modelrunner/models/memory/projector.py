"""How much memory a vision or audio projector takes, from the header of its GGUF file. Pure; in bytes."""

from modelrunner.models.weights.gguf import GGUFHeader, Value

_MOST = 1 << 16  # of a width or a side, in numbers or pixels
_FLOAT = 4  # bytes
_STREAM = 5  # copies of a token's vector that are alive where most are
_PATCHES = 4096  # of an image, where the header does not tell; and of sound
_MANY = 4  # how often more an image has whose size may vary


def projector_bytes(header: GGUFHeader) -> int:
    """Its weights, which are read and not mapped, and what it takes to look at an image.

    Source: llama.cpp, `clip_model_loader` for the keys. Not measured: the sizes of images vary.
    """
    weights = sum(tensor.bytes for tensor in header.tensors)
    return weights + max(_compute(header, kind) for kind in ("vision", "audio"))


def _compute(header: GGUFHeader, kind: str) -> int:
    def number(key: str) -> int:
        value: Value = header.metadata.get(f"clip.{kind}.{key}", 0)
        return value if isinstance(value, int) and 0 < value <= _MOST else 0

    width = number("embedding_length")
    side, patch = number("image_size"), number("patch_size")
    patches = min((side // patch) ** 2, _MOST) if side and patch else _PATCHES
    if number("spatial_merge_size"):
        patches = max(patches * _MANY, _PATCHES)
    return patches * (_STREAM * width + 3 * max(number("feed_forward_length"), width)) * _FLOAT

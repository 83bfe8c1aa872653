"""How much memory vLLM is to take for the keys and values of tokens, where it would else take what it finds.

On a GPU that is its way of working, and its own setting says how much. On a CPU the memory is everybody's.
"""

from pathlib import Path

from modelrunner.engines.tensor_memory import read_cache_per_token

DEFAULT_CONTEXT = 8192
"""Tokens of context on a CPU when nobody chose a size; packagers copy the training length."""

_BLOCK = 128  # tokens that vLLM gives out at once on a CPU
_SPARE = 2  # blocks beyond those of one full context
_LEAST = 256 << 20  # bytes; small models then serve several requests at once
_UNKNOWN = 1 << 30  # bytes for a model whose shape cannot be read: 8,192 tokens of one with 8B parameters


def cache_bytes(directory: Path, tokens: int | None) -> int:
    """The bytes that a context of `tokens` takes, for the model in a directory; None for what fits.

    Reads the model's `config.json`.
    """
    per_token = read_cache_per_token(directory) if tokens else 0
    if not tokens or not per_token:
        return _UNKNOWN
    blocks = -(-tokens // _BLOCK) + _SPARE
    return max(_LEAST, blocks * _BLOCK * per_token)

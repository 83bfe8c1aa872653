"""How much memory vLLM is to take for the keys and values of tokens, where it would else take what it finds.

On a GPU that is its way of working, and its own setting says how much. On a CPU the memory is everybody's.
"""

from pathlib import Path
from typing import Any

import msgspec

DEFAULT_CONTEXT = 8192
"""Tokens of context on a CPU when nobody chose a size; packagers copy the training length."""

_BLOCK = 128  # tokens that vLLM gives out at once on a CPU
_SPARE = 2  # blocks beyond those of one full context
_LEAST = 256 << 20  # bytes; small models then serve several requests at once
_UNKNOWN = 1 << 30  # bytes for a model whose shape cannot be read: 8,192 tokens of one with 8B parameters
_ELEMENT = 2  # bytes: bfloat16, to which vLLM turns larger types too
_MOST = 16 << 20  # bytes of a configuration
_NESTED = ("text_config", "llm_config", "language_config")
_UNREADABLE = (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def cache_bytes(directory: Path, tokens: int | None) -> int:
    """The bytes that a context of `tokens` takes, for the model in a directory; None for what fits.

    Reads the model's `config.json`.
    """
    per_token = _bytes_per_token(directory / "config.json") if tokens else None
    if not tokens or not per_token:
        return _UNKNOWN
    blocks = -(-tokens // _BLOCK) + _SPARE
    return max(_LEAST, blocks * _BLOCK * per_token)


def _bytes_per_token(path: Path) -> int | None:
    """What one token's keys and values take in all layers. Source: Hugging Face's names."""
    try:
        with path.open("rb") as file:
            document = msgspec.json.decode(file.read(_MOST), type=dict[str, Any])
    except _UNREADABLE:
        return None
    for part in (document, *(document.get(name) for name in _NESTED)):
        if isinstance(part, dict) and (found := _of(part)):
            return found
    return None


def _of(config: dict[str, Any]) -> int | None:
    layers = _number(config, "num_hidden_layers", "n_layer")
    heads = _number(config, "num_attention_heads", "n_head")
    width = _number(config, "head_dim")
    if width is None and heads and (hidden := _number(config, "hidden_size", "n_embd")):
        width = hidden // heads
    kept = _number(config, "num_key_value_heads") or heads
    return 2 * layers * kept * width * _ELEMENT if layers and kept and width else None


def _number(config: dict[str, Any], *names: str) -> int | None:
    values = (config.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), None)

"""Whether a model would fit into a machine's memory, from its header alone. Pure; sizes are in bytes.

An estimate for somebody who has not downloaded it yet: weights, the cache of keys and values for a context,
and what an engine needs besides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelrunner.models.gguf import GGUFHeader, Value

DEFAULT_CONTEXT = 8192  # tokens, of a model that was trained for more
SMALLEST_CONTEXT = 512
_OVERHEAD = 256 << 20  # an engine's code and its compute buffers
_NUMBER = 2  # bytes of a number in the cache, which is in 16 bits unless it is quantized


@dataclass(frozen=True, slots=True)
class Fit:
    """`context` is in tokens: the largest up to the usual one that fits, None when none does."""

    needed: int
    available: int
    context: int | None

    @property
    def fits(self) -> bool:
        """Whether it can be run at all."""
        return self.context is not None


def cache_per_token(headers: Sequence[GGUFHeader]) -> int:
    """How many bytes of cache one token of context takes; 0 when the header does not say.

    Source: llama.cpp `llama_kv_cache`: for each layer, heads that hold keys and values, times their length.
    """
    metadata: Mapping[str, Value] = headers[0].metadata if headers else {}
    architecture = metadata.get("general.architecture")

    def number(key: str) -> int:
        value = metadata.get(f"{architecture}.{key}")
        if isinstance(value, tuple):  # one for each layer
            value = max((each for each in value if isinstance(each, int)), default=0)
        return value if isinstance(value, int) and 0 < value < 1 << 20 else 0

    heads = number("attention.head_count")
    size = number("embedding_length") // heads if heads else 0
    length = (number("attention.key_length") or size) + (number("attention.value_length") or size)
    return number("block_count") * (number("attention.head_count_kv") or heads) * length * _NUMBER


def estimate(*, weights: int, per_token: int, trained: int | None, available: int) -> Fit:
    """Say whether weights with the cache of a context fit into what is available.

    `trained` is the context, in tokens, that the model was made for; `needed` is for the usual context.
    """
    usual = min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    fixed = weights + _OVERHEAD
    needed = fixed + usual * per_token
    if needed <= available:
        return Fit(needed, available, usual)
    left = (available - fixed) // per_token if per_token else 0
    return Fit(needed, available, left if left >= SMALLEST_CONTEXT else None)

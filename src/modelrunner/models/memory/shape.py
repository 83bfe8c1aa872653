"""The shape of a model, as far as it decides about memory: from the metadata of its GGUF header, and pure.

Every number in a header may be a lie: what is out of all bounds counts as not said, so that sums stay finite
and quick. Widths are in numbers, not bytes: how many bytes a number takes is the choice of whoever runs it.
Source of the keys: llama.cpp, `llama-arch.cpp`, and what its models make of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelrunner.models.weights.gguf import LongArray, Value

MAX_WIDTH = 1 << 20  # of a vector; the widest that exist have some ten thousand numbers
MAX_LAYERS = 1 << 12
MAX_TOKENS = 1 << 30  # of a context, or of a window
MAX_VOCABULARY = 1 << 24

# Every so many layers one sees the whole context, where the header does not say so itself.
# Source: llama.cpp, `load_arch_hparams` of each model.
_PATTERNS = {
    **dict.fromkeys(("gemma2", "gpt-oss"), 2),
    **dict.fromkeys(("cohere2", "exaone4", "exaone-moe", "olmo2", "smallthinker", "llama4", "afmoe"), 4),
    "gemma3n": 5,
    "gemma3": 6,
}
_CHUNK = 8192  # tokens; what Llama 4 attends to in most layers
ENCODERS = frozenset(
    {"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3"}
    | {"eurobert", "gemma-embedding", "t5encoder", "llama-embed"}
)


@dataclass(frozen=True, slots=True)
class Attention:
    """`layers` layers that remember alike: `keys` and `values` numbers for each token.

    They remember the last `window` tokens, or all of the context when that is None.
    """

    layers: int
    keys: int
    values: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides about memory besides the weights.

    `width` is that of the embedding, `heads` the most that a layer has. `state` is what the layers without
    attention remember of one sequence, however long. A token on its way through the widest layer takes
    `attending` and then `feeding` numbers besides the stream itself. `generates` is False for an encoder,
    which remembers nothing. `trained` is in tokens, None when unknown.
    """

    trained: int | None
    layers: int
    width: int
    heads: int
    vocabulary: int
    attention: tuple[Attention, ...]
    state: int
    attending: int
    feeding: int
    generates: bool


def read_shape(metadata: Mapping[str, Value]) -> Shape | None:
    """Read the shape; None when the header does not describe a language model. Pure.

    Values may be the texts that a model's configuration has of them; arrays of a vocabulary are then unknown.
    """
    keys = _Keys(metadata)
    layers = keys.number("block_count", MAX_LAYERS)
    width = keys.number("embedding_length")
    if not layers or not width:
        return None
    generates = keys.architecture not in ENCODERS and not keys.is_false("attention.causal")
    counts = keys.each("attention.head_count", layers)
    heads = max(counts, default=0)
    return Shape(
        trained=keys.number("context_length", MAX_TOKENS) or None,
        layers=layers,
        width=width,
        heads=heads,
        vocabulary=keys.vocabulary(),
        attention=_attention(keys, layers, width, counts) if generates else (),
        state=_state(keys, layers, width) if generates else 0,
        attending=_attending(keys, layers, width, heads),
        feeding=_feeding(keys, layers),
        generates=generates,
    )


class _Keys:
    """Numbers of one architecture's metadata, within bounds; 0 is for what is not said."""

    def __init__(self, metadata: Mapping[str, Value]) -> None:
        self._metadata = metadata
        self.architecture = str(metadata.get("general.architecture", ""))

    def has(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self._metadata

    def is_false(self, key: str) -> bool:
        return self._metadata.get(f"{self.architecture}.{key}") in {False, "false"} and self.has(key)

    def number(self, key: str, most: int = MAX_WIDTH) -> int:
        """A number; the largest of an array."""
        return max(self._read(key, most), default=0)

    def each(self, key: str, layers: int, default: int = 0) -> tuple[int, ...]:
        """One number for each layer, from an array or from one number for all."""
        found = self._read(key, MAX_WIDTH)
        if len(found) <= 1:
            return (found[0] if found else default,) * layers
        return (*found[:layers], *[found[-1]] * (layers - len(found)))

    def vocabulary(self) -> int:
        tokens = self._metadata.get("tokenizer.ggml.tokens")
        count = tokens.count if isinstance(tokens, LongArray) else 0
        if isinstance(tokens, tuple):
            count = len(tokens)
        return min(count, MAX_VOCABULARY) or self.number("vocab_size", MAX_VOCABULARY)

    def _read(self, key: str, most: int) -> tuple[int, ...]:
        value = self._metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, str):
            value = tuple(value.split(", ", MAX_LAYERS))
        items: Sequence[object] = value if isinstance(value, tuple) else (value,)
        return tuple(_bounded(item, most) for item in items if not isinstance(item, LongArray | None))


def _bounded(item: object, most: int) -> int:
    if isinstance(item, str) and len(item) < 20 and item.isascii() and item.isdecimal():
        item = int(item)
    if item == "true":
        return 1
    return int(item) if isinstance(item, int) and 0 <= item <= most else 0


def _attention(keys: _Keys, layers: int, width: int, counts: Sequence[int]) -> tuple[Attention, ...]:
    """Group the layers that have a cache.

    Source: llama.cpp, `llama_kv_cache`: heads that hold keys and values, times the length of each.
    """
    remembering = keys.each("attention.head_count_kv", layers)
    if not keys.has("attention.head_count_kv"):
        remembering = tuple(counts)
    every = keys.number("full_attention_interval")
    shared = keys.number("attention.shared_kv_layers")
    window = _window(keys)
    local = _local_layers(keys, layers) if window else (False,) * layers
    groups: Counter[tuple[int, int, int | None]] = Counter()
    for layer in range(max(0, layers - shared)):
        if remembering[layer] and not (every and (layer + 1) % every):
            own, its = _lengths(keys, width, counts[layer], local=local[layer])
            indexer = keys.number("attention.indexer.key_length")
            many = remembering[layer]
            groups[many * own + indexer, many * its, window if local[layer] else None] += 1
    return tuple(
        Attention(count, own, its, seen) for (own, its, seen), count in sorted(groups.items(), key=str)
    )


def _lengths(keys: _Keys, width: int, heads: int, *, local: bool) -> tuple[int, int]:
    """The length of one head's key and value; latent attention keeps values within its keys."""
    usual = width // heads if heads else 0
    key = keys.number("attention.key_length") or usual
    value = keys.number("attention.value_length") or usual
    if local:
        key = keys.number("attention.key_length_swa") or key
        value = keys.number("attention.value_length_swa") or value
    return key, 0 if keys.has("attention.key_length_mla") else value


def _window(keys: _Keys) -> int:
    window = keys.number("attention.sliding_window", MAX_TOKENS)
    chunk = keys.number("attention.chunk_size", MAX_TOKENS) or _CHUNK
    return chunk if keys.architecture == "llama4" else window


def _local_layers(keys: _Keys, layers: int) -> tuple[bool, ...]:
    """Which layers see a window only; none where that is not known, which is the larger answer."""
    stated = keys.each("attention.sliding_window_pattern", layers)
    if len(set(stated)) > 1:
        return tuple(map(bool, stated))
    every = max(stated, default=0) or _PATTERNS.get(keys.architecture, 1)
    return tuple(layer % every < every - 1 for layer in range(layers))


def _state(keys: _Keys, layers: int, width: int) -> int:
    """What layers without attention remember of a sequence, in numbers.

    Source: llama.cpp, `llama_hparams::n_embd_r` and `n_embd_s`.
    """
    return sum(_layer_state(keys, width)) * _recurrent_layers(keys, layers)


def _layer_state(keys: _Keys, width: int) -> Iterator[int]:
    if keys.has("wkv.head_size"):
        yield width * (keys.number("token_shift_count") or 2) + width * keys.number("wkv.head_size")
    if keys.has("shortconv.l_cache"):
        yield width * max(0, keys.number("shortconv.l_cache") - 1)
    kept = max(0, keys.number("ssm.conv_kernel") - 1)
    if keys.has("kda.head_dim"):
        inner = keys.number("kda.head_dim") * keys.number("attention.head_count")
        yield 3 * kept * inner + keys.number("kda.head_dim") * inner
    inner, size = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    yield kept * (inner + 2 * keys.number("ssm.group_count") * size) + inner * size


def _recurrent_layers(keys: _Keys, layers: int) -> int:
    """How many layers have a state: those without attention, or all where each has both, or none has any."""
    without = keys.each("attention.head_count_kv", layers).count(0)
    every = keys.number("full_attention_interval")
    if every:
        return layers - layers // every
    return without if keys.has("attention.head_count_kv") and without else layers


def _attending(keys: _Keys, layers: int, width: int, heads: int) -> int:
    """How wide a token is in attention: queries twice, keys and values twice; or in a recurrent layer.

    Source: measured on compute buffers of llama.cpp, to the byte for latent attention.
    """
    remembering = keys.number("attention.head_count_kv") or heads
    key, value = _lengths(keys, width, heads, local=False)
    wide = 2 * heads * key + remembering * (key + value)
    if keys.has("attention.key_length_mla"):
        latent = key + keys.number("attention.value_length") + keys.number("attention.key_length_mla")
        wide = heads * latent
    inner = keys.number("ssm.inner_size") + 2 * keys.number("ssm.group_count") * keys.number("ssm.state_size")
    return max(wide, 5 * inner + keys.number("ssm.inner_size") // 8 if layers else 0)


def _feeding(keys: _Keys, layers: int) -> int:
    """How wide a token is in the network behind attention: what goes up, its gate, and their product."""
    dense = max(keys.each("feed_forward_length", layers), default=0)
    experts = keys.number("expert_used_count", 1 << 12) * keys.number("expert_feed_forward_length")
    if keys.number("expert_count") and not keys.has("expert_feed_forward_length"):
        experts = keys.number("expert_used_count", 1 << 12) * dense
    shared = keys.number("expert_shared_feed_forward_length") or (
        keys.number("expert_shared_count", 1 << 12) * keys.number("expert_feed_forward_length")
    )
    return 3 * max(dense, experts + shared)

"""How much memory a model of a shape takes besides its weights, in bytes: the arithmetic alone, and pure.

It follows llama.cpp, whose buffers it was measured against (`benchmarks/estimate.py`): to the byte for the
cache, within a hundredth for the buffers of the usual kinds of layers, above for the others.
"""

from dataclasses import dataclass

from modelrunner.models.memory.shape import Attention, Shape
from modelrunner.models.weights.ggml import TENSOR_TYPES

F16, F32 = 1, 0  # numbers of `TENSOR_TYPES`
PAD = 256  # tokens; a cache is a multiple of it
_FLOAT = TENSOR_TYPES[F32].bytes
_STREAM = 5  # copies of a token's vector that are alive where most are
_CHECKPOINT_STEP = 8192  # tokens from one checkpoint of a conversation to the next
_CHECKPOINTS_AT_THE_END = 2  # of a prompt, just before its last tokens
MOST_CHECKPOINTS = 32  # of one slot


@dataclass(frozen=True, slots=True)
class Use:
    """How a model is run. `context` is in tokens, for all `slots`, which share it if it is `unified`.

    `batch` and `micro_batch` are in tokens. `keys` and `values` are the types of numbers in the cache, as in
    `TENSOR_TYPES`. `flash` says whether attention is computed without writing it down, `whole_windows`
    whether layers with a window get a cache of the whole context, `embeds` whether all tokens give a result.
    """

    context: int
    slots: int = 4
    unified: bool = True
    batch: int = 2048
    micro_batch: int = 512
    keys: int = F16
    values: int = F16
    flash: bool = True
    whole_windows: bool = False
    checkpoints: int = MOST_CHECKPOINTS
    embeds: bool = False

    @property
    def streams(self) -> int:
        """How many caches there are."""
        return 1 if self.unified else self.slots

    @property
    def cells(self) -> int:
        """The length of each cache, in tokens."""
        return _padded(-(-_padded(self.context) // self.streams))

    @property
    def tokens_at_once(self) -> int:
        """How many tokens are computed in one go, at most."""
        return min(self.batch, self.micro_batch, self.cells)


def cache_bytes(shape: Shape, use: Use) -> int:
    """What the cache of keys and values takes, the states of recurrent layers, and their checkpoints."""
    cache = sum(
        group.layers * _cells(group, use) * use.streams * _row_bytes(group, use) for group in shape.attention
    )
    return cache + use.slots * shape.state * _FLOAT + _checkpoint_bytes(shape, use)


def compute_bytes(shape: Shape, use: Use) -> int:
    """What one step takes on its way through the layers, and its results."""
    per_token = _STREAM * shape.width + max(shape.attending, shape.feeding, _outputs(shape, use))
    if not use.flash:
        weights = shape.heads * use.cells
        per_token = max(per_token, _STREAM * shape.width + shape.attending + weights)
    mask = sum(_mask_cells(shape, use)) * (_FLOAT // 2 if use.flash else _FLOAT)
    return use.tokens_at_once * (per_token * _FLOAT + mask) + _result_bytes(shape, use)


def _outputs(shape: Shape, use: Use) -> int:
    """Numbers of the vocabulary for each token: llama.cpp computes them all even for an embedding."""
    return shape.vocabulary if use.embeds and shape.generates else 0


def _result_bytes(shape: Shape, use: Use) -> int:
    if use.embeds:
        return min(use.batch, use.cells) * (_outputs(shape, use) + shape.width) * _FLOAT
    return use.slots * shape.vocabulary * _FLOAT


def _mask_cells(shape: Shape, use: Use) -> tuple[int, ...]:
    """For one token, which cells of each kind of cache it may look at; an encoder looks at its own batch."""
    if not shape.generates:
        return (use.tokens_at_once,)
    windows = {group.window: group for group in shape.attention}
    return tuple(_cells(group, use) for group in windows.values())


def _cells(group: Attention, use: Use) -> int:
    """The length of one cache; that of a window has room for each slot's, and a step besides.

    Source: llama.cpp, `llama_kv_cache_iswa`.
    """
    if group.window is None or use.whole_windows:
        return use.cells
    windows = use.slots if use.unified else 1
    return _padded(min(use.cells, group.window * windows + use.tokens_at_once))


def _checkpoint_bytes(shape: Shape, use: Use) -> int:
    """Copies of what a conversation cannot get back: windows, and states. Each slot keeps some.

    Source: llama.cpp, `server_slot::create_checkpoint`; how many there are was counted.
    """
    if use.embeds or use.whole_windows:
        return 0
    count = min(use.checkpoints, _CHECKPOINTS_AT_THE_END + use.cells // _CHECKPOINT_STEP)
    windows = sum(
        group.layers * min(group.window, use.cells) * _row_bytes(group, use)
        for group in shape.attention
        if group.window is not None
    )
    return use.slots * count * (windows + shape.state * _FLOAT)


def _row_bytes(group: Attention, use: Use) -> int:
    return _numbers_bytes(group.keys, use.keys) + _numbers_bytes(group.values, use.values)


def _numbers_bytes(count: int, kind: int) -> int:
    stored = TENSOR_TYPES[kind]
    return -(-count // stored.elements) * stored.bytes


def _padded(tokens: int) -> int:
    return -(-tokens // PAD) * PAD

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.models.memory.shape import Attention, Shape, read_shape
from modelrunner.models.weights.gguf import LongArray, Value

HUGE = 1 << 63


def _header(architecture: str, **numbers: Value) -> dict[str, Value]:
    """Keys below the architecture, with `__` for a dot."""
    keys = {f"{architecture}.{key.replace('__', '.')}": value for key, value in numbers.items()}
    return {"general.architecture": architecture, **keys}


def _dense(architecture: str = "llama", **more: Value) -> dict[str, Value]:
    numbers: dict[str, Value] = {
        "block_count": 12,
        "embedding_length": 512,
        "feed_forward_length": 1024,
        "attention__head_count": 8,
        "attention__head_count_kv": 2,
        **more,
    }
    return _header(architecture, **numbers)


def _shape(metadata: dict[str, Value]) -> Shape:
    shape = read_shape(metadata)
    assert shape is not None
    return shape


def test_a_dense_model_is_described_by_its_header() -> None:
    """Heads, their length from the width, and a vocabulary that was counted."""
    metadata = {**_dense(context_length=4096), "tokenizer.ggml.tokens": LongArray(32000)}

    assert Shape(
        trained=4096,
        layers=12,
        width=512,
        heads=8,
        vocabulary=32000,
        attention=(Attention(layers=12, keys=128, values=128),),
        state=0,
        attending=2 * 512 + 2 * 128,
        feeding=3 * 1024,
        generates=True,
    ) == read_shape(metadata)


@pytest.mark.parametrize(
    ("metadata", "attention"),
    [
        (_dense(attention__key_length=128, attention__value_length=96), (Attention(12, 256, 192),)),
        (_dense(attention__head_count_kv=(2, 2, 0, 4) * 3), (Attention(6, 128, 128), Attention(3, 256, 256))),
        (_dense(attention__sliding_window=1024), (Attention(12, 128, 128),)),
        (
            _dense("gemma3", attention__sliding_window=512),
            (Attention(10, 128, 128, 512), Attention(2, 128, 128)),
        ),
        (
            _dense("x", attention__sliding_window=64, attention__sliding_window_pattern=(True, False) * 6),
            (Attention(6, 128, 128, 64), Attention(6, 128, 128)),
        ),
        (
            _dense("x", attention__sliding_window=64, attention__sliding_window_pattern=4),
            (Attention(9, 128, 128, 64), Attention(3, 128, 128)),
        ),
        (_dense("llama4"), (Attention(9, 128, 128, 8192), Attention(3, 128, 128))),
        (
            _dense(
                "gemma4",
                attention__sliding_window=512,
                attention__sliding_window_pattern=(True, True, False) * 4,
                attention__key_length=512,
                attention__key_length_swa=256,
                attention__value_length=512,
                attention__value_length_swa=256,
                attention__shared_kv_layers=6,
            ),
            (Attention(2, 1024, 1024), Attention(4, 512, 512, 512)),
        ),
        (
            _dense(
                "deepseek2",
                attention__head_count_kv=1,
                attention__key_length=576,
                attention__value_length=512,
                attention__key_length_mla=192,
            ),
            (Attention(12, 576, 0),),
        ),
        (
            _dense("qwen3next", full_attention_interval=4, ssm__state_size=128, ssm__inner_size=64),
            (Attention(3, 128, 128),),
        ),
        (_dense("bert"), ()),
        (_dense("x", attention__causal=False), ()),
        (_header("mamba", block_count=4, embedding_length=64, attention__head_count=0), ()),
        (
            _header("x", block_count=4, embedding_length=64, attention__head_count=8),
            (Attention(4, 64, 64),),
        ),
    ],
)
def test_layers_that_remember_alike_are_counted_together(
    metadata: dict[str, Value], attention: tuple[Attention, ...]
) -> None:
    """Windows, latent attention, layers that share, layers without: as llama.cpp allocates them."""
    assert sorted(attention, key=repr) == sorted(_shape(metadata).attention, key=repr)


@pytest.mark.parametrize(
    ("metadata", "state"),
    [
        (_dense(), 0),
        (
            _header(
                "mamba",
                block_count=6,
                embedding_length=1024,
                attention__head_count=0,
                ssm__conv_kernel=4,
                ssm__inner_size=2048,
                ssm__state_size=16,
            ),
            6 * (3 * 2048 + 2048 * 16),
        ),
        (
            _dense(
                "granitehybrid",
                attention__head_count_kv=(0, 0, 0, 2) * 3,
                ssm__conv_kernel=4,
                ssm__inner_size=1024,
                ssm__state_size=128,
                ssm__group_count=1,
            ),
            9 * (3 * (1024 + 256) + 1024 * 128),
        ),
        (_dense("lfm2", attention__head_count_kv=(0, 2) * 6, shortconv__l_cache=3), 6 * 512 * 2),
        (
            _header("rwkv7", block_count=2, embedding_length=64, attention__head_count=0, wkv__head_size=64),
            2 * (2 * 64 + 64 * 64),
        ),
        (
            _dense(
                "falcon-h1",
                ssm__conv_kernel=4,
                ssm__inner_size=1024,
                ssm__state_size=64,
                ssm__group_count=1,
            ),
            12 * (3 * (1024 + 128) + 1024 * 64),
        ),
        (
            _dense("qwen3next", full_attention_interval=4, ssm__conv_kernel=4, ssm__inner_size=256),
            9 * 3 * 256,
        ),
    ],
)
def test_layers_with_a_state_are_counted(metadata: dict[str, Value], state: int) -> None:
    """Whether they stand alone, between others, or within them."""
    assert state == _shape(metadata).state


@pytest.mark.parametrize(
    ("metadata", "feeding"),
    [
        (_dense(feed_forward_length=(1024, 4096, 512)), 3 * 4096),
        (_dense(expert_count=16, expert_used_count=4, expert_feed_forward_length=768), 3 * 4 * 768),
        (_dense("llama", expert_count=8, expert_used_count=2), 3 * 2 * 1024),
        (
            _dense(
                expert_count=16,
                expert_used_count=4,
                expert_feed_forward_length=768,
                expert_shared_count=2,
            ),
            3 * 6 * 768,
        ),
    ],
)
def test_the_widest_network_counts(metadata: dict[str, Value], feeding: int) -> None:
    """The widest layer, or all experts that are used at once."""
    assert feeding == _shape(metadata).feeding


def test_the_texts_of_a_configuration_say_the_same() -> None:
    """A model's configuration has the header's values as texts."""
    numbers = _dense(
        attention__head_count_kv=(2, 0, 4) * 4,
        attention__sliding_window=512,
        attention__sliding_window_pattern=(True, True, False) * 4,
    )
    texts: dict[str, Value] = {
        key: str(value) if not isinstance(value, tuple) else ", ".join(str(item).lower() for item in value)
        for key, value in numbers.items()
    }

    assert _shape(numbers) == read_shape(texts)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        _header("clip"),
        _header("llama", block_count=12),
        _header("llama", block_count=HUGE, embedding_length=64),
        _header("llama", block_count="many", embedding_length=64),
        _header("llama", block_count=-1, embedding_length=64),
        _header("llama", block_count=LongArray(7), embedding_length=64),
    ],
)
def test_what_is_no_language_model_has_no_shape(metadata: dict[str, Value]) -> None:
    """Nothing is guessed from a header that does not say how many layers there are."""
    assert read_shape(metadata) is None


VALUES = st.one_of(
    st.integers(-(1 << 63), 1 << 64),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.lists(st.integers(0, 1 << 64), max_size=60).map(tuple),
    st.builds(LongArray, st.integers(0, 1 << 64)),
)
_NAMES = """
    block_count embedding_length context_length feed_forward_length vocab_size attention.head_count
    attention.head_count_kv attention.key_length attention.value_length attention.key_length_mla
    attention.sliding_window attention.sliding_window_pattern attention.shared_kv_layers
    attention.causal full_attention_interval ssm.conv_kernel ssm.inner_size ssm.state_size ssm.group_count
    wkv.head_size shortconv.l_cache expert_count expert_used_count expert_feed_forward_length
"""
KEYS = _NAMES.split()


@given(st.sampled_from(["llama", "gemma3", "mamba", "x"]), st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_a_lying_header_stays_within_bounds(architecture: str, values: dict[str, Value]) -> None:
    """No number is negative or out of all bounds, and reading ends at once."""
    metadata: dict[str, Value] = {f"{architecture}.{key}": value for key, value in values.items()}
    metadata |= {f"{architecture}.block_count": 40, f"{architecture}.embedding_length": 4096}
    shape = read_shape({"general.architecture": architecture, **metadata})

    assert shape is not None
    numbers = (shape.width, shape.heads, shape.vocabulary, shape.state, shape.attending, shape.feeding)
    assert all(0 <= number < 1 << 80 for number in numbers)
    assert all(each.keys >= 0 and each.values >= 0 and each.layers > 0 for each in shape.attention)
    assert sum(each.layers for each in shape.attention) <= 40

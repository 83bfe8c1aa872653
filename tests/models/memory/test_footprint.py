"""Against what llama.cpp itself says that it allocates (xllamacpp 2026.10, on a CPU)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.models.memory.footprint import Use, cache_bytes, compute_bytes
from modelrunner.models.memory.shape import Attention, Shape

MIB = 1 << 20
HUGE = 1 << 63
Q8_0 = 8
USE = Use(context=8192, checkpoints=0)

SMOLLM2 = Shape(
    trained=8192,
    layers=30,
    width=576,
    heads=9,
    vocabulary=49152,
    attention=(Attention(30, 192, 192),),
    state=0,
    attending=2 * 576 + 384,
    feeding=3 * 1536,
    generates=True,
)
GEMMA3 = Shape(
    trained=32768,
    layers=18,
    width=640,
    heads=4,
    vocabulary=262144,
    attention=(Attention(3, 256, 256), Attention(15, 256, 256, 512)),
    state=0,
    attending=2 * 1024 + 512,
    feeding=3 * 2048,
    generates=True,
)
MAMBA = Shape(
    trained=None,
    layers=6,
    width=1024,
    heads=0,
    vocabulary=49152,
    attention=(),
    state=6 * (3 * 2048 + 2048 * 16),
    attending=5 * 2048 + 256,
    feeding=0,
    generates=True,
)
LATENT = Shape(
    trained=None,
    layers=6,
    width=1024,
    heads=16,
    vocabulary=49152,
    attention=(Attention(6, 576, 0),),
    state=0,
    attending=16 * (576 + 512 + 192),
    feeding=3 * 2816,
    generates=True,
)
EXPERTS = Shape(
    trained=None,
    layers=6,
    width=1024,
    heads=16,
    vocabulary=49152,
    attention=(Attention(6, 512, 512),),
    state=0,
    attending=2 * 2048 + 1024,
    feeding=3 * 4 * 768,
    generates=True,
)
ENCODER = replace(SMOLLM2, attention=(), generates=False, width=384, attending=1536, feeding=3 * 1536)


@pytest.mark.parametrize(
    ("shape", "use", "mebibytes"),
    [
        (SMOLLM2, USE, 180.0),
        (SMOLLM2, replace(USE, context=512), 11.25),
        (SMOLLM2, replace(USE, context=4096, unified=False), 90.0),
        (SMOLLM2, replace(USE, context=300, unified=False), 22.5),
        (SMOLLM2, replace(USE, context=2048, keys=Q8_0, values=Q8_0), 23.90625),
        (GEMMA3, USE, 24.0 + 37.5),
        (GEMMA3, replace(USE, context=2048), 6.0 + 30.0),
        (GEMMA3, replace(USE, unified=False), 24.0 + 60.0),
        (GEMMA3, replace(USE, whole_windows=True), 24.0 + 120.0),
        (GEMMA3, replace(USE, slots=1), 24.0 + 15.0),
        (MAMBA, USE, 3.5625),
        (MAMBA, replace(USE, slots=2), 1.78125),
        (LATENT, USE, 54.0),
        (EXPERTS, replace(USE, context=2048), 24.0),
        (ENCODER, USE, 0.0),
        (GEMMA3, replace(USE, checkpoints=32), 24.0 + 37.5 + 4 * 3 * 7.5),
        (GEMMA3, replace(USE, checkpoints=1), 24.0 + 37.5 + 4 * 7.5),
    ],
)
def test_the_cache_has_the_size_that_llama_cpp_says(shape: Shape, use: Use, mebibytes: float) -> None:
    """To the byte, with checkpoints on top, where they are kept."""
    assert mebibytes * MIB == cache_bytes(shape, use)


@pytest.mark.parametrize(
    ("shape", "use", "mebibytes"),
    [
        (SMOLLM2, USE, 22.64 + 0.75),
        (SMOLLM2, replace(USE, context=512), 15.14 + 0.75),
        (SMOLLM2, replace(USE, context=4096, unified=False), 15.64 + 0.75),
        (SMOLLM2, replace(USE, context=2048, micro_batch=128), 4.16 + 0.75),
        (SMOLLM2, replace(USE, context=2048, micro_batch=2048, batch=4096), 66.57 + 0.75),
        (SMOLLM2, replace(USE, context=2048, flash=False), 47.51 + 0.75),
        (GEMMA3, USE, 28.78 + 4.0),
        (GEMMA3, replace(USE, context=32768), 52.78 + 4.0),
        (GEMMA3, replace(USE, unified=False), 21.28 + 4.0),
        (MAMBA, USE, 30.6 + 0.75),
        (LATENT, USE, 58.01 + 0.75),
        (LATENT, replace(USE, flash=False), 322.01 + 0.75),
        (EXPERTS, replace(USE, context=2048), 30.02 + 0.75),
        (EXPERTS, replace(USE, context=2048, flash=False), 88.01 + 0.75),
        (SMOLLM2, replace(USE, context=2048, micro_batch=2048, embeds=True), 414.61 + 384 + 4.5),
    ],
)
def test_buffers_are_as_large_as_llama_cpp_says(shape: Shape, use: Use, mebibytes: float) -> None:
    """Within three parts in a hundred, for one step and its results."""
    assert mebibytes == pytest.approx(compute_bytes(shape, use) / MIB, rel=0.03)


def test_an_encoder_looks_at_its_own_batch() -> None:
    """Its buffers grow with the square of the batch, and have no word of the vocabulary in them."""
    use = replace(USE, embeds=True, micro_batch=2048)
    tokens = 2048

    assert tokens * (5 * 384 + 3 * 1536 + 384) * 4 + tokens * tokens * 2 == compute_bytes(ENCODER, use)


def _taken(shape: Shape, use: Use) -> int:
    return cache_bytes(shape, use) + compute_bytes(shape, use)


SHAPES = st.sampled_from([SMOLLM2, GEMMA3, MAMBA, LATENT, EXPERTS, ENCODER])
USES = st.builds(
    Use,
    context=st.integers(1, 1 << 20),
    slots=st.integers(1, 64),
    unified=st.booleans(),
    batch=st.integers(1, 1 << 14),
    micro_batch=st.integers(1, 1 << 14),
    keys=st.sampled_from([0, 1, 2, 8]),
    values=st.sampled_from([0, 1, 2, 8]),
    flash=st.booleans(),
    whole_windows=st.booleans(),
    checkpoints=st.integers(0, 32),
    embeds=st.booleans(),
)


@given(SHAPES, USES, st.integers(0, 1 << 20))
def test_more_context_never_takes_less(shape: Shape, use: Use, more: int) -> None:
    """The search for the largest that fits relies on it."""
    assert 0 < _taken(shape, use) <= _taken(shape, replace(use, context=use.context + more))


@given(SHAPES, USES, st.integers(0, 64))
def test_more_slots_that_share_never_take_less(shape: Shape, use: Use, more: int) -> None:
    """Each has results, a state and a window of its own."""
    use = replace(use, unified=True)

    assert _taken(shape, use) <= _taken(shape, replace(use, slots=use.slots + more))


NUMBERS = st.integers(0, HUGE)


@given(
    st.builds(
        Shape,
        trained=st.none(),
        layers=NUMBERS,
        width=NUMBERS,
        heads=NUMBERS,
        vocabulary=NUMBERS,
        attention=st.lists(st.builds(Attention, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS)).map(tuple),
        state=NUMBERS,
        attending=NUMBERS,
        feeding=NUMBERS,
        generates=st.booleans(),
    ),
    st.builds(Use, context=st.integers(1, HUGE), slots=st.integers(1, HUGE), batch=st.integers(1, HUGE)),
)
def test_no_number_is_too_large(shape: Shape, use: Use) -> None:
    """Whatever a header or a user says, an answer comes at once, and is not negative."""
    assert _taken(shape, use) >= 0

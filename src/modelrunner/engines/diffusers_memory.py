"""What making images takes of memory, from the headers in a DDUF file: components, and an image on its way.

An image is denoised first and decoded then, so that the larger of both counts; `standalone/images/sizes.py`
bounds them.

On a GPU the numbers have 16 bits, on a processor 32, as `standalone/images/painting.py` loads them.
Source: huggingface/huggingface_hub, docs/source/en/package_reference/serialization.md, DDUF.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.standalone.images.sizes import Sizes, read_sizes
from modelrunner.engines.tensor_memory import converted_bytes, gpus_of
from modelrunner.errors import UnsupportedModel
from modelrunner.models.weights.headers import read_pieces
from modelrunner.models.weights.safetensors import SafetensorsHeader, parse_header
from modelrunner.oci.manifest import UNREADABLE

_MIB = 1 << 20
_PROGRAM = 450 * _MIB  # Python, PyTorch, diffusers and what they import
_DRIVER = 500 * _MIB  # of a GPU, for its program
# Measured: what is alive at once, in copies of an image in its widest layer; and what does not grow with it.
_DECODER, _UNET, _TRANSFORMER = 8, 36, 16
_ALWAYS = 90 * _MIB
_GUIDED = 2  # images at a time, with the prompt and without
_CHANNELS, _WIDTH = 128, 320  # of a decoder, of a denoiser, when the model does not say; most have so many
_MOST_CHANNELS, _MOST_PATCH = 1 << 14, 16
_MOST_CONFIG = 1 << 20  # bytes


def estimate(archive: Path, devices: Sequence[Device]) -> Estimate:
    """Say what the server needs for the model in an archive; reads its headers.

    Raises:
        UnsupportedModel, InvalidRequest: it cannot be read.
    """
    gpus = gpus_of(devices)
    bits = 16 if gpus else 32
    try:
        with zipfile.ZipFile(archive) as opened:
            weights = converted_bytes(list(_headers(opened)), bits)
            numbers = max(_decoding(opened), _denoising(opened))
    except (OSError, zipfile.BadZipFile) as exc:
        raise UnsupportedModel(f"the DDUF file cannot be read: {exc}") from exc
    compute = _ALWAYS + numbers * bits // 8
    if not gpus:
        return Estimate(RAM, 0, weights, compute=compute, overhead=_PROGRAM)
    # All is read into the RAM before it goes to the GPU.
    shares = {gpus[0].name: weights + compute + _DRIVER, RAM: _PROGRAM + weights}
    return Estimate(gpus[0].name, 0, weights, compute=compute, overhead=_PROGRAM + _DRIVER, shares=shares)


def _headers(archive: zipfile.ZipFile) -> Iterator[SafetensorsHeader]:
    for entry in archive.infolist():
        if entry.filename.endswith(".safetensors"):
            with archive.open(entry) as file:
                yield read_pieces(file, entry.file_size, entry.filename, parse_header)


def _sizes(archive: zipfile.ZipFile) -> Sizes:
    return read_sizes(_config(archive, "vae"), _config(archive, "unet") or _config(archive, "transformer"))


def _decoding(archive: zipfile.ZipFile) -> int:
    """The numbers of the largest image that is decoded whole, where the decoder is widest."""
    return _DECODER * _first(_config(archive, "vae"), _CHANNELS) * _sizes(archive).whole


def _denoising(archive: zipfile.ZipFile) -> int:
    """The numbers of one step for the largest image that is allowed.

    Attention takes no more than its inputs and outputs: PyTorch's does not write its scores down.
    """
    sizes, transformer = _sizes(archive), _config(archive, "transformer")
    positions = _GUIDED * (sizes.allowed >> (2 * sizes.doublings))
    if not transformer:
        unet = _config(archive, "unet")
        return _UNET * positions * _first(unet, _WIDTH) if unet else 0
    heads, each = (transformer.get(name) for name in ("num_attention_heads", "attention_head_dim"))
    width = heads * each if type(heads) is int and type(each) is int else _WIDTH
    patch = transformer.get("patch_size")
    # Some put the numbers of four positions side by side before they come here, and say nothing of it.
    side = max(2, min(patch, _MOST_PATCH)) if type(patch) is int else 2
    return _TRANSFORMER * positions // side**2 * max(1, min(width, _MOST_CHANNELS))


def _first(config: Mapping[str, object], default: int) -> int:
    """The width of the first level, which sees the most positions."""
    levels = config.get("block_out_channels")
    if isinstance(levels, list) and levels and type(levels[0]) is int:
        return max(1, min(levels[0], _MOST_CHANNELS))
    return default


def _config(archive: zipfile.ZipFile, component: str) -> dict[str, Any]:
    try:
        with archive.open(f"{component}/config.json") as file:
            return msgspec.json.decode(file.read(_MOST_CONFIG), type=dict[str, Any])
    except (KeyError, *UNREADABLE):
        return {}

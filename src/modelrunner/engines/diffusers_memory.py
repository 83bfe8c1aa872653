"""What making images takes of memory, from the headers in a DDUF file: components, and an image on its way.

On a GPU the numbers have 16 bits, on a processor 32, as `standalone/images/painting.py` loads them.
Source: huggingface/huggingface_hub, docs/source/en/package_reference/serialization.md, DDUF.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.tensor_memory import converted_bytes, gpus_of
from modelrunner.errors import UnsupportedModel
from modelrunner.models.headers import read_pieces
from modelrunner.models.safetensors import SafetensorsHeader, parse_header
from modelrunner.oci.manifest import UNREADABLE

_MIB = 1 << 20
_PROGRAM = 450 * _MIB  # Python, PyTorch, diffusers and what they import
_DRIVER = 500 * _MIB  # of a GPU, for its program
_COPIES = 9  # of an image in the widest layer of its decoder, alive at once; measured
_CHANNELS = 128  # there, when the model does not say; most have so many
_LEAST_SIDE, _USUAL_SIDE, _LARGEST_SIDE = (
    512,
    1024,
    4096,
)  # pixels of an image: asked for as a rule, made, allowed
_MOST_CHANNELS = 4096
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
            image = _image(opened)
    except (OSError, zipfile.BadZipFile) as exc:
        raise UnsupportedModel(f"the DDUF file cannot be read: {exc}") from exc
    compute = image * _COPIES * bits // 8
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


def _image(archive: zipfile.ZipFile) -> int:
    """The numbers of an image of the size that the model was made for, where its decoder is widest.

    Source: diffusers, `StableDiffusionPipeline.__init__`: each level of the decoder but one doubles a side.
    """
    levels = _config(archive, "vae").get("block_out_channels")
    channels, doublings = _CHANNELS, 3
    if isinstance(levels, list) and levels and type(levels[0]) is int:
        channels, doublings = max(1, min(levels[0], _MOST_CHANNELS)), min(len(levels) - 1, 5)
    parts = (_config(archive, name).get("sample_size") for name in ("unet", "transformer"))
    latent = next((size for size in parts if type(size) is int and size > 0), None)
    side = _USUAL_SIDE if latent is None else min(latent << doublings, _LARGEST_SIDE)
    return channels * max(side, _LEAST_SIDE) ** 2


def _config(archive: zipfile.ZipFile, component: str) -> dict[str, Any]:
    try:
        with archive.open(f"{component}/config.json") as file:
            return msgspec.json.decode(file.read(_MOST_CONFIG), type=dict[str, Any])
    except (KeyError, *UNREADABLE):
        return {}

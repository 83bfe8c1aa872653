"""How large an image may be: whole, in tiles, or not at all. Pure, and used by the estimate of memory too.

A model paints well in the size that it was trained for. Up to that many pixels are decoded whole; more go
through the decoder in tiles, so that its memory no longer grows; more than four times as many are refused, as
the denoiser has no tiles.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

TILE = 512  # pixels, a side
_LEAST, _USUAL, _MOST = 512, 1024, 4096  # sides in pixels: asked for as a rule, of unknown models, allowed
_ALLOWED = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of pixels; `doublings` is how often the decoder doubles a side."""

    doublings: int
    whole: int

    @property
    def allowed(self) -> int:
        """How many pixels an image may have."""
        return min(_ALLOWED * self.whole, _MOST**2)


def read_sizes(decoder: Mapping[str, object], denoiser: Mapping[str, object]) -> Sizes:
    """Read them of the configurations of a pipeline's two parts, which are empty when there is none.

    Source: diffusers, `StableDiffusionPipeline.__init__`: each level of the decoder but one doubles a side.
    """
    levels = decoder.get("block_out_channels") or decoder.get("decoder_block_out_channels")
    doublings = min(len(levels) - 1, 5) if isinstance(levels, list | tuple) and levels else 3
    latent = denoiser.get("sample_size")
    side = _USUAL
    if type(latent) is int and latent > 0:
        side = max(_LEAST, min(latent << doublings, _MOST)) if latent < _MOST else _MOST
    return Sizes(doublings, side**2)


def fitting(width: int, height: int, *, most: int, grain: int) -> tuple[int, int]:
    """The sides of a picture of at most so many pixels, each a multiple of `grain`, in its own shape."""
    shrunk = min(1.0, math.sqrt(most / (width * height)))
    return int(width * shrunk) // grain * grain, int(height * shrunk) // grain * grain

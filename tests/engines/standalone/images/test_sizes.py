"""How large an image may be, from a pipeline's configurations."""

import pytest

from modelrunner.engines.standalone.images.sizes import read_sizes

KL = {"block_out_channels": [128, 256, 512, 512]}


@pytest.mark.parametrize(
    ("decoder", "denoiser", "side"),
    [
        (KL, {"sample_size": 64}, 512),
        (KL, {"sample_size": 128}, 1024),
        (KL, {"sample_size": 8}, 512),
        (KL, {"sample_size": 1 << 40}, 4096),
        (KL, {}, 1024),
        ({"decoder_block_out_channels": [128] * 6}, {"sample_size": 32}, 1024),
        ({"block_out_channels": (8, 16)}, {"sample_size": [64, 64]}, 1024),
        ({}, {"sample_size": True}, 1024),
    ],
)
def test_an_image_of_the_size_that_it_was_trained_for_is_decoded_whole(
    decoder: dict[str, object], denoiser: dict[str, object], side: int
) -> None:
    """And of what is asked for as a rule; four times as many pixels are allowed, never without bound."""
    found = read_sizes(decoder, denoiser)

    assert side**2 == found.whole
    assert min(4 * side**2, 4096**2) == found.allowed

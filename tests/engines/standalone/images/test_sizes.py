"""How large an image may be, from a pipeline's configurations."""

import pytest

from modelrunner.engines.standalone.images.sizes import fitting, read_sizes

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


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((512, 768), (512, 768)),
        ((515, 771), (512, 768)),
        ((1600, 1200), (1176, 880)),
        ((16_000, 8), (16_000, 8)),
        ((1 << 20, 4), (524_288, 0)),
    ],
)
def test_a_picture_of_nobodys_size_is_shrunk_to_what_is_allowed(
    size: tuple[int, int], fits: tuple[int, int]
) -> None:
    """In its own shape; 1,048,576 pixels are allowed here."""
    assert fits == fitting(*size, most=1 << 20, grain=8)

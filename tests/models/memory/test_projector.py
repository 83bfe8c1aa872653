import pytest

from modelrunner.models.memory.projector import projector_bytes
from modelrunner.models.weights.gguf import GGUFHeader, Tensor, Value

WEIGHTS = 1024 * 4096 * 2


def _header(**numbers: Value) -> GGUFHeader:
    metadata = {f"clip.vision.{key}": value for key, value in numbers.items()}
    tensors = (Tensor("v.blk.0.ffn_up.weight", (1024, 4096), 1, 0),)
    return GGUFHeader(3, metadata, tensors, 100, 32, WEIGHTS + 128)


@pytest.mark.parametrize(
    ("header", "numbers"),
    [
        (_header(), 0),
        (_header(embedding_length=1024, feed_forward_length=4096, image_size=336, patch_size=14), 576),
        (_header(embedding_length=1024, feed_forward_length=4096), 4096),
        (
            _header(
                embedding_length=1024,
                feed_forward_length=4096,
                image_size=560,
                patch_size=14,
                spatial_merge_size=2,
            ),
            6400,
        ),
        (_header(embedding_length=1 << 63, image_size=1 << 63, patch_size=1), 0),
    ],
)
def test_a_projector_takes_its_weights_and_a_step(header: GGUFHeader, numbers: int) -> None:
    """The step is as long as an image has patches; nonsense in the header counts as not said."""
    assert WEIGHTS + numbers * (5 * 1024 + 3 * 4096) * 4 == projector_bytes(header)

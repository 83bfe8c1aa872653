from pathlib import Path

import pytest

from modelrunner.models.fit import Fit, cache_per_token, estimate
from modelrunner.models.gguf import read_header
from modelrunner.testing.gguf import write_gguf

GB = 1 << 30
OVERHEAD = 256 << 20


def test_the_cache_of_a_token_follows_from_the_header(tmp_path: Path) -> None:
    """Layers times heads that hold keys and values times the length of both, in 16 bits."""
    path = tmp_path / "m.gguf"
    keys: dict[str, str | int] = {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.embedding_length": 576,
        "llama.attention.head_count": 9,
        "llama.attention.head_count_kv": 3,
    }
    write_gguf(path, keys, [])

    assert 30 * 3 * (64 + 64) * 2 == cache_per_token([read_header(path)])


def test_a_header_that_says_nothing_costs_nothing(tmp_path: Path) -> None:
    """As of a model for images."""
    path = tmp_path / "m.gguf"
    write_gguf(path, {"general.architecture": "x"}, [])

    assert [0, 0] == [cache_per_token([read_header(path)]), cache_per_token([])]


@pytest.mark.parametrize(
    ("weights", "trained", "available", "expected"),
    [
        (1 * GB, None, 8 * GB, Fit(1 * GB + OVERHEAD + 8192 * 100_000, 8 * GB, 8192)),
        (1 * GB, 2048, 8 * GB, Fit(1 * GB + OVERHEAD + 2048 * 100_000, 8 * GB, 2048)),
        (1 * GB, 131072, 8 * GB, Fit(1 * GB + OVERHEAD + 8192 * 100_000, 8 * GB, 8192)),
        (
            1 * GB,
            None,
            1 * GB + OVERHEAD + 100_000 * 1000,
            Fit(GB + OVERHEAD + 8192 * 100_000, GB + OVERHEAD + 100_000 * 1000, 1000),
        ),
        (8 * GB, None, 8 * GB, Fit(8 * GB + OVERHEAD + 8192 * 100_000, 8 * GB, None)),
    ],
)
def test_what_does_not_fit_is_offered_smaller_or_not_at_all(
    weights: int, trained: int | None, available: int, expected: Fit
) -> None:
    """With the figures, for a cache of 100 kB for each token."""
    assert expected == estimate(weights=weights, per_token=100_000, trained=trained, available=available)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.models.memory.fit import Fit, fit, largest_context

GB = 1 << 30
FIXED = 1 * GB
PER_TOKEN = 100_000


def _needed(context: int) -> int:
    return FIXED + context * PER_TOKEN


@pytest.mark.parametrize(
    ("trained", "available", "expected"),
    [
        (None, 8 * GB, Fit(_needed(8192), 8 * GB, 8192)),
        (2048, 8 * GB, Fit(_needed(2048), 8 * GB, 2048)),
        (131072, 8 * GB, Fit(_needed(8192), 8 * GB, 8192)),
        (None, _needed(8192), Fit(_needed(8192), _needed(8192), 8192)),
        (None, _needed(8192) - 1, Fit(_needed(8192), _needed(8192) - 1, 7936)),
        (None, _needed(1024), Fit(_needed(8192), _needed(1024), 1024)),
        (None, _needed(1000), Fit(_needed(8192), _needed(1000), 768)),
        (None, _needed(511), Fit(_needed(8192), _needed(511), None)),
        (256, _needed(255), Fit(_needed(256), _needed(255), None)),
    ],
)
def test_what_does_not_fit_is_offered_smaller_or_not_at_all(
    trained: int | None, available: int, expected: Fit
) -> None:
    """In steps of 256 tokens, down to 512, with the figures."""
    assert expected == fit(_needed, trained=trained, available=available)
    assert expected.fits is (expected.context is not None)


@given(st.integers(0, 1 << 70), st.integers(0, 1 << 70), st.integers(0, 1 << 20))
def test_the_offer_is_the_largest_that_fits(most: int, available: int, per_token: int) -> None:
    """It fits, and the next step either does not or is no longer below what was asked for."""
    found = largest_context(lambda context: context * per_token, most, available)

    if found is None:
        assert most <= 512 or 512 * per_token > available
    else:
        assert found * per_token <= available
        assert found < most
        assert found + 256 >= most or (found + 256) * per_token > available

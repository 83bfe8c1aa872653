"""A model's name in a request, in the engine's words."""

import pytest

from modelrunner.server.inference.renaming import renamed


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"ai/b"}'),
        (b'{"x":1.50,"model":"a","y":{"model":"a"}}', b'{"x":1.50,"model":"ai/b","y":{"model":"a"}}'),
        (b'{"x": [1,  2]}', b'{"x":[1,  2],"model":"ai/b"}'),
        (b'{"model":"a","model":"c"}', b'{"model":"ai/b"}'),
    ],
)
def test_only_the_name_changes(body: bytes, expected: bytes) -> None:
    """Every other value keeps its very bytes, numbers and nested names too."""
    assert expected == renamed(body, "ai/b")

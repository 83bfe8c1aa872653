"""What a replay sends."""

from typing import Any

import pytest

from modelrunner.errors import Conflict
from modelrunner.server.replaying import changed


@pytest.mark.parametrize(
    ("request_", "cut", "why"),
    [
        ('{"model": "ai/tiny"}', True, None),
        ('{"model": "ai/ti', True, "too large"),
        ('{"image": "iVB...[truncated 9 chars; sha256:%s, 9 bytes]"}' % ("a" * 64), False, "media"),
        ("[]", False, "no JSON object"),
    ],
    ids=["the answer was cut", "the request was cut", "it had a picture", "a list"],
)
def test_only_the_request_has_to_be_there_as_a_whole(request_: str, cut: bool, why: str | None) -> None:
    """Of a long answer the end may be missing, or all of it."""
    recorded: Any = {"id": 1, "request": request_, "cut": cut}

    if why is None:
        assert b'{"model":"ai/tiny"}' == changed(recorded, {})
    else:
        with pytest.raises(Conflict, match=why):
            changed(recorded, {})

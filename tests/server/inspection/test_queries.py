"""What a query means."""

from typing import cast

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.server.inspection.queries import filter_of
from modelrunner.server.library.catalogue import Catalogue


def test_a_class_of_statuses_begins_with_a_plain_digit() -> None:
    nobody_asks = cast("Catalogue", None)
    assert filter_of({"status": "4xx"}, nobody_asks).status == (400, 499)
    with pytest.raises(InvalidRequest, match="invalid status"):
        filter_of({"status": "\u00b2xx"}, nobody_asks)

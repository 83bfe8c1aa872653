"""How a request wants to be served."""

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.runtime.scheduling.lease import Stay
from modelrunner.runtime.scheduling.request_queue import ANY_TERMS
from modelrunner.server.inference.terms import terms_of


def test_a_plain_request_has_no_terms_of_its_own() -> None:
    """Nothing is made for most requests."""
    assert terms_of({b"host": b"localhost"}, None) is ANY_TERMS


@pytest.mark.parametrize(
    ("keep_alive", "expected"),
    [("5m", 300.0), ("0", 0.0), (0, 0.0), (30, 30.0), (1.5, 1.5), (-1, None), ("-1", None), ("-5m", None)],
)
def test_keep_alive_is_a_duration_or_seconds(keep_alive: str | float, expected: float | None) -> None:
    """Negative for ever."""
    assert Stay(expected) == terms_of({}, keep_alive).stay


def test_priority_is_weight_and_the_key_is_the_caller() -> None:
    """The key itself is kept nowhere."""
    one = terms_of({b"authorization": b"Bearer secret", b"x-priority": b"high"}, None).caller
    same = terms_of({b"authorization": b"Bearer secret", b"x-priority": b" High "}, None).caller
    other = terms_of({b"x-api-key": b"another", b"x-priority": b"low"}, None).caller

    assert one == same
    assert one.name != other.name
    assert one.weight == 8.0
    assert other.weight == 0.125
    assert "secret" not in repr(one)


def test_the_check_of_memory_and_the_name_are_headers() -> None:
    """A long name is cut."""
    terms = terms_of({b"x-memory-check": b"off", b"x-request-id": b"r" * 500}, None)

    assert terms.checked is False
    assert terms.name == "r" * 128


@pytest.mark.parametrize(
    ("headers", "keep_alive", "message"),
    [
        ({b"x-priority": b"urgent"}, None, "invalid X-Priority: `urgent`"),
        ({b"x-memory-check": b"maybe"}, None, "invalid X-Memory-Check: `maybe`"),
        ({}, "soon", "soon"),
        ({}, "nan", "invalid duration: `nan`"),
        ({}, 1e300, r"invalid duration: `1e\+300`"),
        ({}, "1e300", r"invalid duration: `1e\+300`"),
        ({}, 1e10, r"invalid duration: `1e\+10`"),
    ],
)
def test_what_has_no_meaning_is_refused(
    headers: dict[bytes, bytes], keep_alive: str | float | None, message: str
) -> None:
    """In a sentence, with what there is."""
    with pytest.raises(InvalidRequest, match=message):
        terms_of(headers, keep_alive)

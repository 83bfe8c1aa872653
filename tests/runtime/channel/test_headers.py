"""Which headers pass."""

import pytest

from modelrunner.runtime.channel.headers import Header, as_json, end_to_end, for_engine


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([(b"Content-Type", b"application/json")], [(b"content-type", b"application/json")]),
        ([(b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=5"), (b"a", b"b")], [(b"a", b"b")]),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"3")], [(b"content-length", b"3")]),
        ([(b"connection", b"close, X-Own"), (b"x-own", b"1"), (b"x-other", b"2")], [(b"x-other", b"2")]),
        ([(b"set-cookie", b"a"), (b"set-cookie", b"b")], [(b"set-cookie", b"a"), (b"set-cookie", b"b")]),
    ],
)
def test_what_concerns_one_connection_stays_there(given: list[Header], kept: list[Header]) -> None:
    """Hop-by-hop headers are dropped, and all that `Connection` names; the rest keeps its order."""
    assert kept == end_to_end(given)


@pytest.mark.parametrize(
    "name",
    [b"Host", b"Content-Length", b"Expect", b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Proto", b"TE"],
)
def test_an_engine_does_not_see_how_the_client_was_reached(name: bytes) -> None:
    """The daemon speaks to the engine for itself."""
    assert [(b"accept", b"*/*")] == for_engine([(name, b"x"), (b"Accept", b"*/*")])


@pytest.mark.parametrize("name", [b"Authorization", b"X-Api-Key", b"Cookie", b"Origin"])
def test_an_engine_does_not_see_who_asks(name: bytes) -> None:
    """Credentials are for the daemon, and so is the decision about an origin."""
    assert [(b"accept", b"*/*")] == for_engine([(name, b"x"), (b"Accept", b"*/*")])


def test_an_engine_sees_the_client_s_other_headers() -> None:
    """Byte for byte."""
    headers = [(b"user-agent", b"\xe9"), (b"x-request-id", b"7"), (b"accept-language", b"de")]

    assert headers == for_engine(headers)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (b"application/json", b"application/json"),
        (b"Application/JSON; charset=utf-8", b"Application/JSON; charset=utf-8"),
        (b"application/x-www-form-urlencoded", b"application/json"),
        (None, b"application/json"),
    ],
)
def test_an_engine_is_told_that_json_is_json(given: bytes | None, passed: bytes) -> None:
    """curl calls everything a form; the other headers stay."""
    headers = [(b"accept", b"*/*"), *([(b"Content-Type", given)] if given else [])]

    told = [(name.lower(), value) for name, value in as_json(headers, given)]

    assert told == [(b"accept", b"*/*"), (b"content-type", passed)]

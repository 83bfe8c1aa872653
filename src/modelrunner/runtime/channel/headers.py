"""Which headers pass between a client and an engine. Names come out in lower case, as ASGI wants them."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

# RFC 9110, 7.6.1, and those of RFC 2616 that are still met
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What is set anew for the engine, and what concerns the daemon and its client alone: an engine gets no
# credentials, and no origin to doubt. All that begin with `x-forwarded-` belong here, too.
_KEPT_FROM_ENGINES = _HOP_BY_HOP | frozenset(
    b"host content-length expect forwarded x-real-ip authorization x-api-key cookie origin referer"
    b" x-preload-only x-request-origin".split()
)
_JSON = b"application/json"
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Drop what is meant for one connection only, including what a `Connection` header names."""
    return _without(headers, _HOP_BY_HOP)


def for_engine(headers: Iterable[Header]) -> list[Header]:
    """Give the headers of a client's request that an engine is to see."""
    passed = _without(headers, _KEPT_FROM_ENGINES)
    return [header for header in passed if not header[0].startswith(b"x-forwarded-")]


def as_json(headers: Iterable[Header], content_type: bytes | None) -> Iterable[Header]:
    """Call a body JSON that was found to be some, whatever its client calls it: vLLM takes nothing else.

    curl calls it a form, and some clients nothing; `content_type` is what this one does.
    """
    if content_type is not None and content_type.lower().startswith(_JSON):
        return headers
    return [*(header for header in headers if header[0].lower() != b"content-type"), (b"content-type", _JSON)]


def _without(headers: Iterable[Header], dropped: frozenset[bytes]) -> list[Header]:
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lowered
        if name == b"connection" and value.lower() not in _PLAIN_CONNECTION
        for token in value.split(b",")
    }
    dropped = dropped | named if named else dropped
    return [header for header in lowered if header[0] not in dropped]

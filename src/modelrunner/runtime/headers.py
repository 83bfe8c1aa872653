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
# Set anew for the engine, or answered by the daemon itself.
_OURS = frozenset({b"host", b"content-length", b"expect", b"forwarded"})
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Drop what is meant for one connection only, including what a `Connection` header names."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lowered
        if name == b"connection" and value.lower() not in _PLAIN_CONNECTION
        for token in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named if named else _HOP_BY_HOP
    return [header for header in lowered if header[0] not in dropped]


def for_engine(headers: Iterable[Header]) -> list[Header]:
    """Give the headers of a client's request that an engine is to see."""
    return [
        header
        for header in end_to_end(headers)
        if header[0] not in _OURS and not header[0].startswith(b"x-forwarded-")
    ]

"""Server-sent events are found however the stream is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.sse import Parser, event
from modelrunner.errors import EngineFailed


def parsed(*pieces: bytes) -> list[bytes]:
    parser = Parser()
    found = [data for piece in pieces for data in parser.feed(piece)]
    return found + parser.end()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data\n\ndata: a\n\n", [b"", b"a"]),
        (b": ping\n\ndata: a\n\n", [b"a"]),
        (b"data: a\n: ping\ndata: b\n\n", [b"a\nb"]),
        (b"event: x\nid: 7\nretry: 1\ndata: a\n\n", [b"a"]),
        (b"event: x\n\n", []),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"data: a\n\ndata: b\n\nevent: y\n\n", [b"a", b"b"]),
        ("data: äöü😀\n\n".encode(), ["äöü😀".encode()]),
        (b"", []),
    ],
)
def test_a_stream_has_the_same_events_wherever_it_is_cut(stream: bytes, expected: list[bytes]) -> None:
    """Whole, in two pieces at every byte, and byte by byte."""
    assert expected == parsed(stream)
    for cut in range(len(stream) + 1):
        assert expected == parsed(stream[:cut], stream[cut:])
    assert expected == parsed(*(bytes([byte]) for byte in stream))


@given(st.text("ab:d \n\r", max_size=40).map(lambda text: text.encode()), st.data())
def test_cuts_change_nothing_whatever_the_stream_is(stream: bytes, data: st.DataObject) -> None:
    """Also for streams that no engine would send."""
    stream = stream.replace(b"d", b"data: ")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    bounds = [0, *cuts, len(stream)]

    assert parsed(stream) == parsed(*(stream[a:b] for a, b in itertools.pairwise(bounds)))


@pytest.mark.parametrize("piece", [b"x" * 64, b"data: " + b"x" * 64, b"data: 1234567\n"])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    """Nothing is held beyond the limit, in one line or in many."""
    parser = Parser(limit=256)

    with pytest.raises(EngineFailed, match="an event without end"):
        list(map(parser.feed, [piece] * 100))


def test_an_event_is_written_with_and_without_a_name() -> None:
    """A parser reads it back."""
    assert b"data: {}\n\n" == event(b"{}")
    assert b"event: ping\ndata: {}\n\n" == event(b"{}", b"ping")
    assert [b"{}"] == parsed(event(b"{}", b"ping"))

"""Streams that are passed on, and errors of engines in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.dialects.passing import Passing
from modelrunner.errors import ContextExceeded, EngineRefused

SAID = b'data: {"choices":[{"delta":{"content":"data: {\\"error\\": 1}"}}]}\n\n'
ERROR = b'data: {"error":{"code":400,"message":"the grammar is wrong","type":"invalid_request_error"}}\n\n'
DONE = b"data: [DONE]\n\n"


def passed(pieces: list[bytes]) -> tuple[bytes, Passing]:
    passing = Passing()
    told = b""
    for piece in pieces:
        told += passing.feed(piece)
        if passing.failure is not None:
            return told, passing
    return told + passing.end(), passing


@given(st.data())
def test_an_error_is_found_wherever_the_stream_is_cut(data: st.DataObject) -> None:
    """What came before it is there to the byte, and nothing that came after."""
    stream = SAID * 2 + ERROR + DONE
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    told, passing = passed([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)])

    assert SAID * 2 == told
    assert isinstance(passing.failure, EngineRefused)
    assert (400, "the grammar is wrong") == (passing.failure.status, passing.failure.message)


@given(st.data())
def test_a_stream_without_an_error_is_the_same_to_the_byte(data: st.DataObject) -> None:
    """However it is cut; words about errors are no errors."""
    stream = SAID * 2 + DONE + b"data: {"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    told, passing = passed([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)])

    assert (stream, None) == (told, passing.failure)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
def test_an_error_may_be_the_last_word(end: bytes) -> None:
    """Also without the empty line behind it."""
    event = b'data: {"error":{"type":"exceed_context_size_error","n_prompt_tokens":9,"n_ctx":5}}'

    assert isinstance(passed([SAID, event + end])[1].failure, ContextExceeded)


def test_an_error_without_end_is_one() -> None:
    """It is not collected for ever."""
    told, passing = passed([b'data: {"error": "' + b"x" * 100_000])

    assert b"" == told
    assert passing.failure is not None

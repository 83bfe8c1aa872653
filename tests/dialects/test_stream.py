"""A stream through a translator: every chunk once, in order, wherever it is cut, and an honest end."""

import pytest

from modelrunner.dialects.base import EVENT_STREAM, Timing
from modelrunner.dialects.completion import Completion
from modelrunner.dialects.stream import Stream
from modelrunner.errors import ContextExceeded, EngineFailed, EngineRefused, RunnerError

WORD = 'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
LAST = 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = "data: [DONE]\n\n"


class Words:
    """Writes each word between bars; is finished after one that is `enough`."""

    media_type = EVENT_STREAM

    def __init__(self) -> None:
        self.finished = False

    def begin(self, timing: Timing) -> None:
        raise NotImplementedError(timing)

    def whole(self, body: bytes) -> bytes:
        return body

    def chunk(self, chunk: Completion) -> bytes:
        word = chunk.choices[0].said.content or ""
        self.finished = word == "enough"
        return f"|{word}".encode()

    def end(self) -> bytes:
        return b"."


def turned(*pieces: bytes) -> str:
    stream = Stream(Words())
    return (b"".join(map(stream.feed, pieces)) + stream.end()).decode()


STREAM = (WORD % "grüße" + WORD % "😀" + ": ping\n\n" + LAST + DONE).encode()


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_cut_at_any_byte_changes_nothing(cut: int) -> None:
    """In the middle of a character, too."""
    assert "|grüße|😀|." == turned(STREAM[:cut], STREAM[cut:])


def test_what_follows_the_end_is_not_read() -> None:
    """The engine's `[DONE]` is the last word, and so is a translator that has finished."""
    assert "|a." == turned((WORD % "a" + DONE + WORD % "b").encode())
    assert "|enough." == turned((WORD % "enough" + WORD % "b").encode())


@pytest.mark.parametrize("stream", [WORD % "a" + LAST, WORD % "a" + LAST + "data: [DONE]"])
def test_a_stream_may_end_without_its_last_line(stream: str) -> None:
    """The answer was complete."""
    assert "|a|." == turned(stream.encode())


@pytest.mark.parametrize("stream", ["", WORD % "a", (WORD % "a") + 'data: {"choices":[{"delta":{"con'])
def test_a_stream_that_breaks_off_is_no_answer(stream: str) -> None:
    """Silence is not taken for the end."""
    with pytest.raises(EngineFailed):
        turned(stream.encode())


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ('{"error":{"code":500,"message":"lost","type":"server_error"}}', EngineRefused, "lost"),
        ('{"error":"lost"}', EngineRefused, "lost"),
        (
            '{"error":{"type":"exceed_context_size_error","message":"x","n_prompt_tokens":9,"n_ctx":8}}',
            ContextExceeded,
            "prompt is too long: 9 tokens > 8 maximum",
        ),
        ("{not json", EngineFailed, "did not answer properly"),
        ("[1]", EngineFailed, "did not answer properly"),
        ('{"choices": 7}', EngineFailed, "did not answer properly"),
        ('{"choices": [{"delta": {"content": 7}}]}', EngineFailed, "did not answer properly"),
    ],
)
def test_an_error_in_the_stream_is_raised(data: str, error: type[RunnerError], words: str) -> None:
    """The engine's own, and what it says that is no chunk."""
    with pytest.raises(error, match=words):
        turned(f"{WORD % 'a'}data: {data}\n\n".encode())


def test_what_came_before_an_error_is_turned() -> None:
    """Also when both come in one piece."""
    stream = Stream(Words())

    assert b"|a" == stream.feed(f'{WORD % "a"}data: {{"error":"lost"}}\n\n{WORD % "b"}'.encode())
    assert stream.failure is not None
    assert "lost" == stream.failure.message
    with pytest.raises(EngineRefused):
        stream.end()


def test_half_a_character_is_an_error_when_it_stays_one() -> None:
    """It is not passed on as something else."""
    with pytest.raises(EngineFailed):
        turned(b'data: {"choices":[{"delta":{"content":"\xc3"}}]}\n\n')

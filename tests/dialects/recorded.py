"""Answers of llama.cpp, as it gave them, and what each dialect makes of them: pairs of files.

`text.sse` is an engine's stream, `text.sse.chat` what `/api/chat` makes of it, and so on. To record what the
translators make of the same streams now: `python -m tests.dialects.recorded`; then read the difference.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from modelrunner.dialects.anthropic_answers import Messages
from modelrunner.dialects.base import Timing, Translator
from modelrunner.dialects.clock import Clock
from modelrunner.dialects.ollama_answers import Chat, Generate
from modelrunner.dialects.stream import Stream

FOLDER = Path(__file__).parent / "recordings"
MODEL = "ai/smollm2"
CLOCK = Clock(wall=lambda: 1_795_849_577.25, steady=lambda: 100.5)
TIMING = Timing(queued=0.25, loading=0.5, since=100.0)


def _chat(streams: bool) -> Translator:
    return Chat(MODEL, streams=streams, clock=CLOCK)


def _generate(streams: bool) -> Translator:
    asked = [{"role": "user", "content": "hi"}]
    return Generate(MODEL, streams=streams, asked=asked, clock=CLOCK)


def _messages(streams: bool) -> Translator:
    return Messages(MODEL, streams=streams, thinks=True, stops=[], max_tokens=6)


TRANSLATORS: dict[str, Callable[[bool], Translator]] = {
    "chat": _chat,
    "generate": _generate,
    "messages": _messages,
}


def pairs() -> Iterator[tuple[str, str]]:
    """Every recording with every dialect that has an answer of its kind."""
    for recording in sorted([*FOLDER.glob("*.sse"), *FOLDER.glob("*.json")]):
        for dialect in TRANSLATORS:
            if not recording.name.startswith("completion") or dialect == "generate":
                yield recording.name, dialect


def translated(recording: str, dialect: str, *cuts: int) -> bytes:
    """What a dialect makes of a recording, which arrives in pieces."""
    data = (FOLDER / recording).read_bytes()
    translator = TRANSLATORS[dialect](recording.endswith(".sse"))
    translator.begin(TIMING)
    if recording.endswith(".json"):
        return neutral(translator.whole(data))
    stream = Stream(translator)
    bounds = [0, *cuts, len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(bounds)]
    return neutral(b"".join(map(stream.feed, pieces)) + stream.end())


def neutral(answer: bytes) -> bytes:
    """Without the names that are made up anew each time."""
    return re.sub(rb"msg_[0-9a-f]{24}", b"msg_1", answer)


def expected(recording: str, dialect: str) -> Path:
    """Where the other half of a pair is."""
    return FOLDER / f"{recording}.{dialect}"


if __name__ == "__main__":
    for each in pairs():
        expected(*each).write_bytes(translated(*each))

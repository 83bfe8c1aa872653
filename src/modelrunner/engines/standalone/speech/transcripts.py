"""What was heard, and the forms in which it is told. Pure.

Source: OpenAI API reference, "Create transcription" and its streaming events; W3C WebVTT; the form of SubRip.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

MEDIA = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Word:
    """One word; times are in seconds from the beginning of the sound."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of speech, mostly a sentence, and how sure the model is of it. Times as for a word."""

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] = ()

    def later(self, seconds: float) -> "Segment":
        """The same, when what it is counted from began that much later."""

        def moved(moment: float) -> float:
            return round(moment + seconds, 3)

        words = tuple(Word(each.word, moved(each.start), moved(each.end)) for each in self.words)
        return replace(self, start=moved(self.start), end=moved(self.end), words=words)


class Hearing(Protocol):
    """Segments as they are heard. `language` and `seconds` are known when the last one was."""

    language: str
    seconds: float

    def __iter__(self) -> Iterator[Segment]:
        """Hear the next."""
        ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was heard. `task` is `transcribe` or `translate`, `seconds` the length of the sound."""

    task: str
    language: str
    seconds: float
    segments: Sequence[Segment]

    @property
    def text(self) -> str:
        """The whole text, on one line."""
        return "".join(segment.text for segment in self.segments).strip()

    @property
    def usage(self) -> dict[str, Any]:
        """What it is charged by."""
        return {"type": "duration", "seconds": math.ceil(self.seconds)}

    def written(self, form: str, granularities: frozenset[str]) -> bytes:
        """Write it in one of the forms of `MEDIA`; `granularities` are for `verbose_json` alone."""
        if form == "text":
            return f"{self.text}\n".encode()
        if form == "srt":
            return self._subtitles(",", numbered=True).encode()
        if form == "vtt":
            return f"WEBVTT\n\n{self._subtitles('.', numbered=False)}".encode()
        document: dict[str, Any] = {"text": self.text, "usage": self.usage}
        if form == "verbose_json":
            document |= self._details(granularities)
        return json.dumps(document, ensure_ascii=False).encode()

    def _details(self, granularities: frozenset[str]) -> dict[str, Any]:
        details: dict[str, Any] = {
            "task": self.task,
            "language": self.language,
            "duration": round(self.seconds, 3),
        }
        if "word" in granularities:
            details["words"] = [
                asdict(replace(word, word=word.word.strip()))
                for segment in self.segments
                for word in segment.words
            ]
        if "segment" in granularities:
            details["segments"] = [
                {"id": number, "seek": 0, **_without_words(segment)}
                for number, segment in enumerate(self.segments)
            ]
        return details

    def _subtitles(self, point: str, *, numbered: bool) -> str:
        lines = []
        for number, segment in enumerate(self.segments, start=1):
            times = f"{_clock(segment.start, point)} --> {_clock(segment.end, point)}"
            head = f"{number}\n{times}" if numbered else times
            # An arrow within a text would be taken for a line of times.
            lines.append(f"{head}\n{segment.text.strip().replace('-->', '->')}\n\n")
        return "".join(lines)


def delta(segment: Segment, *, first: bool) -> bytes:
    """The event of a piece that was heard."""
    text = segment.text.lstrip() if first else segment.text
    return event({"type": "transcript.text.delta", "delta": text})


def done(transcript: Transcript) -> bytes:
    """The event of the end."""
    return event({"type": "transcript.text.done", "text": transcript.text, "usage": transcript.usage})


def event(document: dict[str, Any]) -> bytes:
    """Write one event of a stream."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def _without_words(segment: Segment) -> dict[str, Any]:
    return {key: value for key, value in asdict(segment).items() if key != "words"}


def _clock(seconds: float, point: str) -> str:
    whole = round(max(0.0, seconds) * 1000)
    minutes, thousandths = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{thousandths // 1000:02}{point}{thousandths % 1000:03}"

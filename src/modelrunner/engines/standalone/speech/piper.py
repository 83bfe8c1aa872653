"""A server for voices of Piper: OpenAI's `POST /v1/audio/speech`; a sentence is sent when it is spoken."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .serving import Refused, Turn, application, drawn, serve, words

_LONGEST = 4096  # characters; OpenAI's
_BODY = 1 << 20  # bytes of a request, which is text
_LONGEST_PIECE = 160  # phonemes that are spoken in one go, which takes 200 MB; a long sentence is cut
_PAUSES = ",;:\u2013\u2014"
_SLOWEST, _FASTEST = 0.25, 4.0
_FORMS = ("mp3", "opus", "flac", "wav", "pcm")
# Clients have to name a voice, and name one of OpenAI's: that is the model's own, or its first.
_OPENAI_VOICES = frozenset(
    (
        *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage"),
        *("shimmer", "verse", "default"),
    )
)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be spoken. `speaker` is a number of the model's, None when it has one only."""

    text: str
    speaker: int | None
    form: str
    speed: float
    events: bool


class Speaker(Protocol):
    """Speaks; `rate` is how many numbers a second of its sound has, `voices` have their number by name."""

    rate: int
    voices: dict[str, int]

    def speak(self, text: str, speaker: int | None, speed: float) -> Iterator[Any]:
        """Speak one sentence after the other."""
        ...

    def encoded(self, sound: Iterator[Any], form: str) -> Iterator[bytes]:
        """Write sound in one of the forms, as it is made."""
        ...

    def media(self, form: str) -> str:
        """What a form is called."""
        ...


def read_order(body: bytes, voices: dict[str, int]) -> Order:
    """Read a request.

    Raises:
        Refused: a field of it is wrong, or asks for what no voice of Piper can.
    Source: OpenAI API reference, "Create speech".
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(f"the body has to be a JSON object: {words(exc)}") from exc
    if not isinstance(given, dict):
        raise Refused("the body has to be a JSON object")
    text = given.get("input")
    if not isinstance(text, str) or not text.strip():
        raise Refused("input is required: the text to speak", "input")
    if len(text) > _LONGEST:
        raise Refused(f"input: `{len(text)}` characters; at most {_LONGEST} at a time", "input")
    if given.get("instructions"):
        raise Refused("instructions are not supported: a voice of Piper speaks as it does", "instructions")
    form = given.get("response_format") or "mp3"
    if form not in _FORMS:
        more = ": there is no encoder for it here" if form == "aac" else ""
        raise Refused(
            f"response_format: `{form!s:.60}`{more}; it is one of {', '.join(_FORMS)}", "response_format"
        )
    return Order(
        text=text,
        speaker=_speaker(given.get("voice"), voices),
        form=form,
        speed=_speed(given.get("speed")),
        events=_events_wanted(given.get("stream_format")),
    )


def _speaker(voice: Any, voices: dict[str, int]) -> int | None:
    name = voice.get("id") if isinstance(voice, dict) else voice
    if isinstance(name, str) and name in voices:
        return voices[name]
    if name is None or name in _OPENAI_VOICES:
        return min(voices.values(), default=None)
    known = ", ".join(f"`{each}`" for each in list(voices)[:20]) or "one voice, `default`"
    raise Refused(f"voice: no `{name!s:.60}` in this model; it has {known}", "voice")


def _speed(value: Any) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not _SLOWEST <= value <= _FASTEST:
        raise Refused(f"speed: `{value!s:.60}`; it is from {_SLOWEST} to {_FASTEST}", "speed")
    return float(value)


def _events_wanted(value: Any) -> bool:
    if value not in {None, "audio", "sse"}:
        raise Refused(f"stream_format: `{value!s:.60}`; it is `audio` or `sse`", "stream_format")
    return bool(value == "sse")


def server(speaker: Speaker) -> Starlette:
    """Serve what a speaker speaks."""
    turn = Turn()

    async def speech(request: Request) -> Response:
        order = read_order(await _body(request), speaker.voices)
        spoken = _spoken(request, speaker, turn, order)
        first = await anext(spoken)  # waited for, so that a failure has a status
        media = "text/event-stream" if order.events else speaker.media(order.form)
        return StreamingResponse(_told(first, spoken, order), headers={"content-type": media})

    return application({"/v1/audio/speech": speech})


async def _body(request: Request) -> bytes:
    whole = bytearray()
    async for piece in request.stream():
        whole += piece
        if len(whole) > _BODY:
            raise Refused(f"a request has at most {_BODY} bytes", status=413)
    return bytes(whole)


async def _spoken(request: Request, speaker: Speaker, turn: Turn, order: Order) -> AsyncIterator[bytes]:
    async with turn.of(request):
        sound = speaker.speak(order.text, order.speaker, order.speed)
        async for piece in drawn(speaker.encoded(sound, order.form)):
            yield piece


async def _told(first: bytes, rest: AsyncIterator[bytes], order: Order) -> AsyncIterator[bytes]:
    """Bytes as they are, or as events. Source: OpenAI API reference, `speech.audio.delta` and `.done`."""

    def piece(data: bytes) -> bytes:
        if not order.events:
            return data
        return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})

    yield piece(first)
    try:
        async for data in rest:
            if data:
                yield piece(data)
    except Exception as exc:
        if not order.events:
            raise  # the answer stays incomplete, which a client notices
        yield _event(Refused(words(exc), status=500).document())
    else:
        if order.events:
            yield _event({"type": "speech.audio.done"})


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def bounded(phonemes: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    """Cut a sentence that is too long: after a comma or the like, else between words, else anywhere."""
    while len(phonemes) > most:
        places = [
            max((n for n in range(most // 2, most) if phonemes[n] in marks), default=most - 1)
            for marks in (_PAUSES, " ")
        ]
        cut = 1 + next((place for place in places if place < most - 1), most - 1)
        yield phonemes[:cut]
        phonemes = phonemes[cut:]
    yield phonemes


class Piper:
    """A voice of Piper, on the processor."""

    def __init__(self, path: Path) -> None:
        """Load it; blocks, for as long as that takes."""
        from piper import PiperVoice, SynthesisConfig

        from . import encoding

        self._voice = PiperVoice.load(path)
        phonemize = self._voice.phonemize
        self._most = _LONGEST_PIECE
        self._voice.phonemize = lambda text: [
            piece for sentence in phonemize(text) for piece in bounded(sentence, self._most)
        ]
        self._configured = SynthesisConfig
        self._encoding = encoding
        self.rate = int(self._voice.config.sample_rate)
        names = getattr(self._voice.config, "speaker_id_map", None) or {}
        several = self._voice.config.num_speakers > 1
        numbered = {str(number): number for number in range(self._voice.config.num_speakers)}
        self.voices: dict[str, int] = (names or numbered) if several else {}

    def speak(self, text: str, speaker: int | None, speed: float) -> Iterator[Any]:
        """Speak one sentence after the other."""
        self._most = int(_LONGEST_PIECE * min(1.0, speed))
        usual = float(self._voice.config.length_scale)
        configured = self._configured(speaker_id=speaker, length_scale=usual / speed)
        for spoken in self._voice.synthesize(text, configured):
            yield spoken.audio_float_array

    def encoded(self, sound: Iterator[Any], form: str) -> Iterator[bytes]:
        """Write sound as it is made."""
        return self._encoding.encoded(sound, self.rate, self._encoding.FORMS[form])

    def media(self, form: str) -> str:
        """What a form is called."""
        return self._encoding.FORMS[form].media


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve a voice."""
    serve("piper", lambda path: server(Piper(path)), arguments)

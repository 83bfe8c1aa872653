"""A server for Whisper: OpenAI's transcriptions and translations around faster-whisper.

Speech of any length is heard in windows, so that memory is bounded by the window and not by the file.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .orders import Order, read_order
from .serving import Refused, Turn, application, drawn, serve, stay, words
from .transcripts import MEDIA, Hearing, Segment, Transcript, Word, delta, done, event

WINDOW = 120  # seconds that are heard in one go
_BEAMS = 5  # whisper.cpp's and OpenAI's own
_TAIL = 200  # characters of what was heard that the next window is told
_MOST_FIELDS, _MOST_FIELD = 40, 64 << 10  # of a form, and bytes of each


class Listener(Protocol):
    """Hears."""

    def hear(self, source: BinaryIO, order: Order) -> Hearing:
        """Begin; the work is done as segments are asked for."""
        ...


def server(listener: Listener) -> Starlette:
    """Serve what a listener hears."""
    turn = Turn()

    async def transcriptions(request: Request) -> Response:
        return await _heard(request, "transcribe", listener, turn)

    async def translations(request: Request) -> Response:
        return await _heard(request, "translate", listener, turn)

    return application({"/v1/audio/transcriptions": transcriptions, "/v1/audio/translations": translations})


async def _heard(request: Request, task: str, listener: Listener, turn: Turn) -> Response:
    form = await _form(request)
    try:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        order = read_order(task, fields)
        hearing = listener.hear(_file(form), order)
    except Refused:
        await form.close()
        raise
    if order.stream:
        return await _streamed(request, form, hearing, turn, order)
    try:
        async with turn.of(request):
            segments = []
            async for segment in drawn(iter(hearing)):
                segments.append(segment)
                await stay(request)
    finally:
        await form.close()
    transcript = Transcript(task, hearing.language, hearing.seconds, segments)
    body = transcript.written(order.form, order.granularities)
    return Response(body, headers={"content-type": MEDIA[order.form]})


async def _form(request: Request) -> FormData:
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise Refused(f"the body has to be a form, `multipart/form-data`, and is `{kind[:60]}`")
    return await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD)


def _file(form: FormData) -> BinaryIO:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise Refused("file is required: a form's field `file` with a file's name", "file")
    return file.file


async def _streamed(request: Request, form: FormData, hearing: Hearing, turn: Turn, order: Order) -> Response:
    """Tell each segment when it was heard. The first is waited for: a file that is none has a status."""
    heard = _events(request, form, hearing, turn, order)
    first = await anext(heard)

    async def every() -> AsyncIterator[bytes]:
        yield first
        try:
            async for piece in heard:
                yield piece
        except Exception as exc:  # noqa: BLE001 - the top of a stream; what is left is to tell it
            yield event(Refused(words(exc), status=500).document())

    return StreamingResponse(every(), media_type="text/event-stream")


async def _events(
    request: Request, form: FormData, hearing: Hearing, turn: Turn, order: Order
) -> AsyncIterator[bytes]:
    segments: list[Segment] = []
    try:
        async with turn.of(request):
            async for segment in drawn(iter(hearing)):
                yield delta(segment, first=not segments)
                segments.append(segment)
    finally:
        await form.close()
    yield done(Transcript(order.task, hearing.language, hearing.seconds, segments))


class Whisper:
    """A model of faster-whisper, on the processor."""

    def __init__(self, folder: Path) -> None:
        """Load it; blocks, for as long as that takes."""
        from faster_whisper import WhisperModel

        # In 8 bits where the processor can: half the time, a quarter of the memory, much the same text.
        self._model = WhisperModel(str(folder), device="cpu", compute_type="auto", local_files_only=True)

    def hear(self, source: BinaryIO, order: Order) -> Hearing:
        """Begin to hear.

        Raises:
            Refused: the model does not know the language, or only English.
        """
        known = self._model.supported_languages
        unknown = next((each for each in order.languages if each not in known), None)
        if unknown is not None:
            some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
            raise Refused(f"language: the model knows {some}, and not `{unknown}`", "language")
        if order.task == "translate" and not self._model.model.is_multilingual:
            raise Refused("this model knows English only, and does not translate", "model")
        return _Hearing(self._model, source, order)


class _Hearing:
    """One window after the other; a segment that a window cuts off is heard again in the next."""

    def __init__(self, model: Any, source: BinaryIO, order: Order) -> None:
        self.language = order.languages[0] if len(order.languages) == 1 else ""
        self.seconds = 0.0
        self._model = model
        self._source = source
        self._order = order
        self._said = order.prompt or ""

    def __iter__(self) -> Iterator[Segment]:
        from .sound import RATE, samples

        for window, last in windows(samples(self._source), WINDOW * RATE):
            began = self.seconds
            length = len(window.sound) / RATE
            held: Segment | None = None
            for segment in self._window(window.sound):
                if held is not None:
                    yield self._told(held, began)
                held = segment
            if held is not None and (last or held.start <= 0):
                yield self._told(held, began)
                held = None
            heard = length if held is None else held.start
            window.used(int(heard * RATE))
            self.seconds = began + heard
        if self.seconds == 0:
            raise Refused("the file has no sound in it", "file")

    def _window(self, sound: Any) -> Iterator[Segment]:
        order = self._order
        if not self.language and order.languages:
            _, _, likely = self._model.detect_language(sound)
            self.language = max(order.languages, key=dict(likely).__getitem__)
        temperature = {} if order.temperature is None else {"temperature": order.temperature}
        segments, info = self._model.transcribe(
            sound,
            task=order.task,
            language=self.language or None,
            hotwords=", ".join(order.keywords) or None,
            initial_prompt=self._said[-_TAIL:] if self.seconds else order.prompt,
            word_timestamps=order.words,
            beam_size=_BEAMS,
            **temperature,
        )
        self.language = info.language
        return map(_segment, segments)

    def _told(self, segment: Segment, began: float) -> Segment:
        self._said = (self._said + segment.text)[-_TAIL:]
        return segment.later(began)


class Window:
    """A stretch of sound, and how much of it need not be heard again; a number each, `RATE` a second."""

    def __init__(self, sound: Any) -> None:
        self.sound = sound
        self.rest = sound[len(sound) :]

    def used(self, count: int) -> None:
        """Say how much was heard; of a window that is not the last, a part comes again."""
        self.rest = self.sound[min(max(count, 1), len(self.sound)) :]


def windows(pieces: Iterator[Any], length: int) -> Iterator[tuple[Window, bool]]:
    """Cut pieces of sound into windows, and say which is the last; what one leaves begins the next."""
    import numpy as np

    waiting: list[Any] = []
    count, ended = 0, False
    while not ended:
        while count <= length and not ended:  # one piece more than fits tells that it is not the last
            piece = next(pieces, None)
            ended = piece is None
            if piece is not None:
                waiting.append(piece)
                count += len(piece)
        whole = np.concatenate(waiting) if waiting else np.zeros(0, np.float32)
        ended = ended and len(whole) <= length
        window = Window(whole[:length])
        if len(whole):
            yield window, ended
        waiting = [window.rest, whole[length:]]
        count = sum(map(len, waiting))


def _segment(heard: Any) -> Segment:
    """Take over what faster-whisper says, in numbers of Python."""
    found = [Word(word.word, _rounded(word.start), _rounded(word.end)) for word in heard.words or ()]
    return Segment(
        start=_rounded(heard.start),
        end=_rounded(heard.end),
        text=heard.text,
        tokens=tuple(map(int, heard.tokens)),
        temperature=float(heard.temperature or 0.0),
        avg_logprob=float(heard.avg_logprob),
        compression_ratio=float(heard.compression_ratio),
        no_speech_prob=float(heard.no_speech_prob),
        words=tuple(found),
    )


def _rounded(seconds: Any) -> float:
    return round(float(seconds), 3)


def main(arguments: Sequence[str]) -> NoReturn:
    """Serve a folder with a model."""
    serve("whisper", lambda folder: server(Whisper(folder)), arguments)

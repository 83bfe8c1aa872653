"""Sound into files, as it is made: the forms of OpenAI's `/v1/audio/speech` that libsndfile writes."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Form:
    """A form of sound. `rate` is the one that it has to have, in numbers a second; None, any."""

    media: str
    container: str
    coding: str | None = None
    rate: int | None = None


# OpenAI's `pcm` has 24,000 numbers of 16 bits a second, and Opus knows no rate between 16,000 and 24,000.
FORMS = {
    "mp3": Form("audio/mpeg", "MP3"),
    "opus": Form("audio/ogg", "OGG", "OPUS", 24_000),
    "flac": Form("audio/flac", "FLAC", "PCM_16"),
    "wav": Form("audio/wav", "WAV", "PCM_16"),
    "pcm": Form("audio/pcm", "RAW", "PCM_16", 24_000),
}


def encoded(sound: Iterator[Sound], rate: int, form: Form) -> Iterator[bytes]:
    """Write pieces of sound, one channel of values from -1 to 1, and give out what is written so far.

    A WAV file says at its beginning how long it is, so it comes as one piece.
    """
    target = form.rate or rate
    buffer = io.BytesIO()
    more: dict[str, Any] = {"endian": "LITTLE"} if form.container == "RAW" else {}
    sent = 0
    with soundfile.SoundFile(
        buffer, "w", target, 1, subtype=form.coding, format=form.container, **more
    ) as file:
        for piece in _resampled(sound, rate, target):
            file.write(piece)
            whole = form.container == "WAV"
            written = b"" if whole else buffer.getvalue()[sent:]
            sent += len(written)
            if written:
                yield written
    yield buffer.getvalue()[sent:]


def _resampled(sound: Iterator[Sound], rate: int, target: int) -> Iterator[Sound]:
    if rate == target:
        yield from sound
        return
    stream = soxr.ResampleStream(rate, target, 1, dtype="float32")
    for piece in sound:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

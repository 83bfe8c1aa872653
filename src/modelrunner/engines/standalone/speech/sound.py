"""Sound out of files, in pieces: any usual form becomes what Whisper hears, 16,000 numbers a second."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from .serving import Refused, words

RATE = 16_000  # a second

# Forms of files that hold nothing but what is played: a play list, say, would have others opened.
_FORMS = "aac,aiff,amr,asf,au,avi,caf,flac,matroska,mov,mp3,ogg,w64,wav"


def samples(source: BinaryIO) -> Iterator[NDArray[np.float32]]:
    """Decode the first track of sound; values are from -1 to 1.

    Raises:
        Refused: the file has none, or cannot be read.
    """
    try:
        with av.open(
            source, "r", options={"format_whitelist": _FORMS}, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise Refused("the file has no sound in it", "file")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in _frames(container):
                yield from _converted(resampler, frame)
            yield from _converted(resampler, None)
    except (av.FFmpegError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or words(exc)
        raise Refused(f"the file cannot be read as sound: {reason}", "file") from exc


def _frames(container: Any) -> Iterator[Any]:
    """Decode, and pass over packets that are damaged."""
    decoded = container.decode(audio=0)
    while True:
        try:
            yield next(decoded)
        except StopIteration:
            return
        except av.error.InvalidDataError:
            continue


def _converted(resampler: Any, frame: Any) -> Iterator[NDArray[np.float32]]:
    if frame is not None:
        frame.pts = None  # gaps in it would be filled
    for each in resampler.resample(frame):
        yield each.to_ndarray().reshape(-1)

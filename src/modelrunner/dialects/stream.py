"""An engine's event stream through a translator, in pieces cut anywhere."""

from modelrunner.dialects.base import Translator
from modelrunner.dialects.completion import read_completion
from modelrunner.dialects.refusal import reported
from modelrunner.dialects.sse import Parser
from modelrunner.errors import EngineFailed

_DONE = b"[DONE]"


class Stream:
    """Feeds a translator with the chunks of one stream. Nothing is held but what is not complete yet."""

    __slots__ = ("_ended", "_parser", "_translator", "finished")

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._parser = Parser()
        self._ended = False  # the engine has said that it is done
        self.finished = False

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the engine's stream; return what the client is to get for it.

        Raises:
            EngineFailed: the engine says something that is no answer.
            RunnerError: the engine tells of an error.
        """
        return self._turned(self._parser.feed(piece))

    def end(self) -> bytes:
        """Return what is left when the engine's stream is over.

        Raises:
            EngineFailed: it ended before the answer did.
            RunnerError: the last that the engine said is an error.
        """
        last = b"" if self.finished else self._turned(self._parser.end())
        if not self._ended and not self._translator.finished:
            raise EngineFailed("the engine did not complete its answer")
        return last + self._translator.end()

    def _turned(self, events: list[bytes]) -> bytes:
        translator = self._translator
        turned: list[bytes] = []
        for data in events:
            if self.finished:
                break
            if data == _DONE:
                self._ended = self.finished = True
                break
            chunk = read_completion(data)
            if chunk.error is not None:
                raise reported(chunk.error)
            if chunk.stop or (chunk.choices and chunk.choices[0].finish_reason is not None):
                self._ended = True
            turned.append(translator.chunk(chunk))
            self.finished = translator.finished
        return b"".join(turned) if len(turned) != 1 else turned[0]

"""An engine's event stream through a translator, in pieces cut anywhere."""

from modelrunner.dialects.base import Translator
from modelrunner.dialects.completion import read_completion
from modelrunner.dialects.refusal import reported
from modelrunner.dialects.sse import Parser
from modelrunner.errors import EngineFailed, RunnerError

_DONE = b"[DONE]"


class Stream:
    """Feeds a translator with the chunks of one stream. Nothing is held but what is not complete yet.

    What goes wrong stands in `failure`, since there may be something to send that came before it.
    """

    __slots__ = ("_ended", "_parser", "_translator", "failure", "finished")

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._parser = Parser()
        self._ended = False  # the engine has said that it is done
        self.finished = False
        self.failure: RunnerError | None = None

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the engine's stream; return what the client is to get for it."""
        turned: list[bytes] = []
        try:
            self._turn(self._parser.feed(piece), turned)
        except RunnerError as exc:
            self.failure = exc
            self.finished = True
        return turned[0] if len(turned) == 1 else b"".join(turned)

    def end(self) -> bytes:
        """Return what is left when the engine's stream is over.

        Raises:
            EngineFailed: it ended before the answer did.
            RunnerError: what has gone wrong.
        """
        turned: list[bytes] = []
        failure, self.failure = self.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # whose traceback has this frame, and with it all that the request holds
        if not self.finished:
            self._turn(self._parser.end(), turned)
        if not self._ended and not self._translator.finished:
            raise EngineFailed("the engine did not complete its answer")
        return b"".join(turned) + self._translator.end()

    def _turn(self, events: list[bytes], turned: list[bytes]) -> None:
        translator = self._translator
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

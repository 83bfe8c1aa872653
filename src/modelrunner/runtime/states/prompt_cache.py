"""One instance's conversations about saved states: one restored for its first requests, all saved at its end.

It is a help and never an obstacle: each step has a deadline, and what fails leaves a line in the log.
"""

import asyncio
import logging
from collections.abc import Callable

from modelrunner.engines.ask import AskEngine
from modelrunner.engines.states import Dialogue, States, T
from modelrunner.errors import RunnerError
from modelrunner.runtime.states.saved_states import Saved, best, free, held, hopeless, worth_saving
from modelrunner.runtime.states.state_files import StateFolder

_log = logging.getLogger(__name__)
SAVE_WITHIN = 2.0
"""Seconds for all of an instance's states; a model that another one waits for is not held up for longer."""
RESTORE_WITHIN = 10.0
"""Seconds for a request to wait; a state so large spares a minute at least."""
_TAIL = 4096  # bytes of an answer's end, in which the engine counts


class PromptCache:
    """Made for one instance, with the states `saved` before it; looks at its first `requests`."""

    def __init__(
        self, states: States, folder: StateFolder, saved: list[Saved], record: "Record", *, requests: int
    ) -> None:
        self._states = states
        self._folder = folder
        self._saved = saved
        self._record = record
        self._left = requests if not record.hopeless else 0
        self._turn = asyncio.Lock()  # so that two requests do not want the same slot

    @property
    def attentive(self) -> bool:
        """Whether it wants to see the next request before the engine does."""
        return self._left > 0 and bool(self._saved)

    async def prepare(self, ask: AskEngine, target: str, body: bytes) -> "CachedTokens | None":
        """Restore what a request can use, if there is something; then watch the answer."""
        self._left -= 1
        try:
            async with asyncio.timeout(RESTORE_WITHIN), self._turn:
                return await self._restore(ask, target, body)
        except (TimeoutError, RunnerError, OSError) as exc:
            _log.warning("state not restored folder=%s error=%r", self._folder.path, exc)
        return None

    async def _restore(self, ask: AskEngine, target: str, body: bytes) -> "CachedTokens | None":
        prompt = await _hold(ask, self._states.prompt(target, body))
        choice = best(self._saved, prompt) if prompt is not None else None
        if choice is None:
            return None
        saved, expected = choice
        slot = free(await _hold(ask, self._states.slots()))
        if slot is None:
            return None
        self._saved.remove(saved)
        if not await asyncio.to_thread(self._folder.intact, saved.file):
            self._folder.drop(saved.file)
            return None
        if not await _hold(ask, self._states.restore(slot.number, saved.file)):
            self._disappoint(saved, "the engine did not take it")
            return None
        return CachedTokens(self._states, lambda cached: self._judge(saved, cached, expected))

    def _judge(self, saved: Saved, cached: int, expected: int) -> None:
        if held(cached, expected):
            _log.info("state restored tokens=%d of=%d", cached, expected)
            self._record.misses = 0
            self._folder.touch(saved.file)
        else:
            self._disappoint(saved, f"{cached} of {expected} tokens")

    def _disappoint(self, saved: Saved, reason: str) -> None:
        _log.info("state of no use folder=%s reason=%s", self._folder.path, reason)
        self._record.misses += 1
        self._folder.drop(saved.file)

    async def save(self, ask: AskEngine) -> None:
        """Save the states of the slots that are idle; called when no request will come any more."""
        if self._record.hopeless:
            return
        try:
            async with asyncio.timeout(SAVE_WITHIN):
                for slot in worth_saving(await _hold(ask, self._states.slots())):
                    await self._save(ask, slot.number)
        except (TimeoutError, RunnerError, OSError) as exc:
            _log.warning("state not saved folder=%s error=%r", self._folder.path, exc)

    async def _save(self, ask: AskEngine, slot: int) -> None:
        file = self._folder.unfinished()
        try:
            size = await _hold(ask, self._states.save(slot, file))
            if size is not None:
                await asyncio.to_thread(self._folder.publish, file, size, self._states.tokens)
        finally:
            self._folder.drop(file)


class Record:
    """How well restoring went with one engine, model and configuration while the daemon ran."""

    __slots__ = ("misses",)

    def __init__(self) -> None:
        self.misses = 0

    @property
    def hopeless(self) -> bool:
        """Whether it is tried no more."""
        return hopeless(self.misses)


class CachedTokens:
    """Sees an answer pass, and tells how many tokens of its prompt were there; nothing if it broke off."""

    __slots__ = ("_states", "_tail", "_tell")

    def __init__(self, states: States, tell: Callable[[int], None]) -> None:
        self._states = states
        self._tell = tell
        self._tail = b""

    def see(self, chunk: bytes) -> None:
        """Take a piece of the answer; the empty one is its end."""
        if chunk:
            self._tail = (self._tail + chunk)[-_TAIL:]
        elif (cached := self._states.cached(self._tail)) is not None:
            self._tell(cached)


async def _hold(ask: AskEngine, dialogue: Dialogue[T]) -> T:
    """Hold a conversation to its end."""
    try:
        question = next(dialogue)
        while True:
            question = dialogue.send(await ask(question))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        dialogue.close()

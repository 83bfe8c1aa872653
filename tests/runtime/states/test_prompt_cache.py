"""Saving and restoring against an engine that is scripted, and that may lie, fail, or not answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pytest

from modelrunner.engines.ask import Answer, Ask
from modelrunner.engines.states import Dialogue, Slot, Tokens
from modelrunner.errors import EngineFailed
from modelrunner.runtime.states import prompt_cache
from modelrunner.runtime.states.prompt_cache import PromptCache, Record
from modelrunner.runtime.states.state_files import StateFiles, StateFolder

PROMPT = tuple(range(1, 251))


class Words:
    """How the scripted engine is spoken to. Satisfies `states.States`."""

    key = "key"

    def slots(self) -> Dialogue[tuple[Slot, ...]]:
        answer = yield Ask("GET", "/slots")
        return tuple(Slot(*slot) for slot in json.loads(answer.body)) if answer.status == 200 else ()

    def save(self, slot: int, file: str) -> Dialogue[int | None]:
        answer = yield Ask("POST", f"/save/{slot}/{file}")
        return int(answer.body) if answer.status == 200 else None

    def restore(self, slot: int, file: str) -> Dialogue[bool]:
        answer = yield Ask("POST", f"/restore/{slot}/{file}")
        return answer.status == 200

    def prompt(self, target: str, body: bytes) -> Dialogue[Tokens | None]:
        if target != "/chat":
            return None
        answer = yield Ask("POST", "/prompt", body)
        return tuple(answer.body) if answer.status == 200 else None

    def tokens(self, state: BinaryIO) -> Tokens | None:
        return tuple(state.read()) or None

    def cached(self, tail: bytes) -> int | None:
        return int(tail) if tail else None


@dataclass
class Engine:
    """An engine with slots of tokens; `fault` names a route that goes wrong, and how."""

    folder: Path
    slots: dict[int, bytes] = field(default_factory=dict)
    fault: tuple[str, str] = ("", "")
    asked: list[str] = field(default_factory=list)
    stuck: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, question: Ask) -> Answer:
        _, route, *rest = question.target.split("/")
        self.asked.append(route)
        if route == self.fault[0]:
            if self.fault[1] == "dies":
                raise EngineFailed("gone")
            if self.fault[1] == "hangs":
                self.stuck.set()
                await asyncio.Event().wait()
            if self.fault[1] == "refuses":
                return Answer(500, b"no")
        return Answer(200, self._answer(route, rest, question.body))

    def _answer(self, route: str, rest: list[str], body: bytes) -> bytes:
        if route == "slots":
            return json.dumps([(slot, len(text), False) for slot, text in self.slots.items()]).encode()
        if route == "prompt":
            return body
        slot, path = int(rest[0]), self.folder / rest[1]
        if route == "restore":
            self.slots[slot] = path.read_bytes()
            return b""
        half = self.fault == ("save", "half")
        path.write_bytes(self.slots[slot][: 10 if half else None])
        return b"%d" % len(self.slots[slot])


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFiles(tmp_path, 1 << 20).folder("ab" * 32, "key")


@pytest.fixture
def engine(folder: StateFolder) -> Engine:
    return Engine(folder.path, {0: bytes(PROMPT), 1: b""})


def cached(folder: StateFolder, record: Record | None = None, requests: int = 2) -> PromptCache:
    words = Words()
    return PromptCache(words, folder, folder.saved(words.tokens), record or Record(), requests=requests)


@asynccontextmanager
async def swapped(engine: Engine, folder: StateFolder) -> AsyncIterator[Engine]:
    """The engine that is started after another one saved its states."""
    await cached(folder).save(engine.ask)
    yield Engine(folder.path, {0: b"", 1: b""})


async def test_what_was_saved_is_restored_for_a_prompt_that_begins_alike(
    engine: Engine, folder: StateFolder
) -> None:
    """Into a slot that is free, before the request is passed on; what the engine counts is believed."""
    record = Record()
    record.misses = 1
    async with swapped(engine, folder) as new:
        again = cached(folder, record)
        observer = await again.prepare(new.ask, "/chat", bytes([*PROMPT, 9]))

    assert new.slots[0] == bytes(PROMPT)
    assert observer is not None
    observer.see(b"24")
    observer.see(b"8")
    observer.see(b"")
    assert record.misses == 0
    assert len(folder.saved(Words().tokens)) == 1


@pytest.mark.parametrize("body", [bytes([9, *PROMPT]), bytes(PROMPT[:50])])
async def test_another_prompt_restores_nothing(engine: Engine, folder: StateFolder, body: bytes) -> None:
    """The engine is asked for nothing but the prompt's tokens."""
    async with swapped(engine, folder) as new:
        observer = await cached(folder).prepare(new.ask, "/chat", body)

    assert observer is None
    assert new.asked == ["prompt"]


async def test_a_request_without_a_prompt_is_let_through(engine: Engine, folder: StateFolder) -> None:
    """The engine is not asked at all."""
    async with swapped(engine, folder) as new:
        assert await cached(folder).prepare(new.ask, "/other", b"") is None

    assert new.asked == []


async def test_only_the_first_requests_are_looked_at(engine: Engine, folder: StateFolder) -> None:
    """As many as the engine serves at once, and none when nothing was saved."""
    assert not cached(folder).attentive
    async with swapped(engine, folder) as new:
        again = cached(folder)
        seen = []
        for _ in range(2):
            seen.append(again.attentive)
            await again.prepare(new.ask, "/chat", b"\x09")

    assert [*seen, again.attentive] == [True, True, False]


async def test_a_restore_that_did_not_help_is_not_tried_for_ever(engine: Engine, folder: StateFolder) -> None:
    """Two in a row by the engine's own count, whatever it said at the restore; then none is saved either."""
    record = Record()
    for _ in range(2):
        async with swapped(engine, folder) as new:
            observer = await cached(folder, record).prepare(new.ask, "/chat", bytes(PROMPT))
            assert observer is not None
            observer.see(b"0")
            observer.see(b"")
        assert folder.saved(Words().tokens) == []
    await cached(folder, record).save(engine.ask)

    assert record.hopeless
    assert folder.saved(Words().tokens) == []


async def test_an_answer_that_broke_off_says_nothing(engine: Engine, folder: StateFolder) -> None:
    """A client that left early is no disappointment."""
    record = Record()
    async with swapped(engine, folder) as new:
        observer = await cached(folder, record).prepare(new.ask, "/chat", bytes(PROMPT))
        assert observer is not None
        observer.see(b"12")

    assert record.misses == 0
    assert len(folder.saved(Words().tokens)) == 1


async def test_a_damaged_state_is_deleted_and_not_restored(engine: Engine, folder: StateFolder) -> None:
    """The engine never reads it."""
    async with swapped(engine, folder) as new:
        [path] = folder.path.iterdir()
        path.write_bytes(path.read_bytes()[:-1] + b"\x09")
        observer = await cached(folder).prepare(new.ask, "/chat", bytes(PROMPT))

    assert observer is None
    assert "restore" not in new.asked
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("route", ["prompt", "slots", "restore"])
@pytest.mark.parametrize("how", ["dies", "hangs", "refuses"])
async def test_a_restore_that_goes_wrong_does_not_stop_the_request(
    engine: Engine, folder: StateFolder, route: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is passed on, after the deadline at the latest."""
    monkeypatch.setattr(prompt_cache, "RESTORE_WITHIN", 0.05)
    async with swapped(engine, folder) as new:
        new.fault = (route, how)
        assert await cached(folder).prepare(new.ask, "/chat", bytes(PROMPT)) is None


@pytest.mark.parametrize("how", ["dies", "hangs", "refuses", "half"])
async def test_a_save_that_goes_wrong_leaves_nothing(
    engine: Engine, folder: StateFolder, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half file is taken for whole, and the stop is not held up."""
    monkeypatch.setattr(prompt_cache, "SAVE_WITHIN", 0.05)
    engine.fault = ("save", how)
    await cached(folder).save(engine.ask)

    assert list(folder.path.iterdir()) == []


async def test_a_stop_that_is_broken_off_leaves_nothing_half(engine: Engine, folder: StateFolder) -> None:
    """Cancellation goes on as everywhere, and the file that was being written is deleted."""
    engine.fault = ("save", "hangs")
    saving = asyncio.create_task(cached(folder).save(engine.ask))
    await engine.stuck.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving

    assert list(folder.path.iterdir()) == []


async def test_two_first_requests_do_not_want_the_same_slot(engine: Engine, folder: StateFolder) -> None:
    """One is prepared after the other."""
    other = bytes([200, *PROMPT])
    engine.slots[1] = other
    async with swapped(engine, folder) as new:
        again = cached(folder)
        await asyncio.gather(
            again.prepare(new.ask, "/chat", bytes(PROMPT)), again.prepare(new.ask, "/chat", other)
        )

    assert sorted(new.slots.values()) == sorted([bytes(PROMPT), other])

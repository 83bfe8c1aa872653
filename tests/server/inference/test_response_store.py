"""What is kept of responses: found again, bounded, and never the reason for a daemon not to start."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import PreviousNotFound, StoreError
from modelrunner.server.inference.response_store import Kept, ResponseStore

Open = Callable[..., ResponseStore]


def kept(name: str, previous: str | None = None, *, status: str = "completed", text: str = "") -> Kept:
    response = {"id": name, "previous_response_id": previous, "status": status, "output": [{"text": text}]}
    return Kept([{"role": "user", "content": name}], response)


@pytest.fixture
async def open_store(tmp_path: Path) -> AsyncIterator[Open]:
    stores = []

    def make(
        *, limit: int = 1_000_000, lifetime: float = 100, now: list[float] | None = None
    ) -> ResponseStore:
        clock = (lambda: now[0]) if now is not None else (lambda: 0.0)
        store = ResponseStore(
            tmp_path / "state" / "responses.db", limit=limit, lifetime=lifetime, clock=clock
        )
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


async def test_a_response_is_found_replaced_and_deleted(open_store: Open) -> None:
    """By its id; the second time there is nothing to delete."""
    store = open_store()
    await store.save(kept("a", status="in_progress"))
    await store.save(kept("a"))

    assert kept("a") == await store.find("a")
    assert await store.delete("a")
    assert not await store.delete("a")
    assert await store.find("a") is None


async def test_what_is_saved_soon_is_found_next(open_store: Open) -> None:
    """One thread does all in order."""
    store = open_store()
    store.save_soon(kept("a"))

    assert kept("a") == await store.find("a")


async def test_a_chain_comes_whole_and_in_order(open_store: Open) -> None:
    """The first one first."""
    store = open_store()
    for name, previous in (("a", None), ("b", "a"), ("c", "b"), ("other", "a")):
        await store.save(kept(name, previous))

    assert ["a", "b", "c"] == [each.response["id"] for each in await store.chain("c")]


async def test_a_chain_with_a_gap_is_none(open_store: Open) -> None:
    """The missing one is named; half a conversation is not passed off as the whole."""
    store = open_store()
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        await store.save(kept(name, previous))
    await store.delete("a")

    with pytest.raises(PreviousNotFound, match="`a`"):
        await store.chain("c")


async def test_a_lifetime_begins_anew_for_the_whole_chain(open_store: Open) -> None:
    """Whoever follows a conversation keeps its beginning; what nobody uses is gone in time."""
    now = [0.0]
    store = open_store(lifetime=100, now=now)
    for name, previous in (("a", None), ("b", "a"), ("alone", None)):
        await store.save(kept(name, previous))
    now[0] = 90
    await store.chain("b")
    now[0] = 150

    assert await store.find("alone") is None
    assert not await store.delete("alone")
    assert ["a", "b"] == [each.response["id"] for each in await store.chain("b")]


async def test_the_space_is_bounded(open_store: Open) -> None:
    """What was used longest ago makes room; what could never fit is refused."""
    now = [0.0]
    store = open_store(limit=1000, now=now)
    for number in range(10):
        now[0] = number
        await store.save(kept(str(number), text="x" * 200))
    found = [number for number in range(10) if await store.find(str(number)) is not None]

    assert [7, 8, 9] == found
    with pytest.raises(StoreError, match="too large"):
        await store.save(kept("large", text="x" * 1000))


async def test_what_an_earlier_run_did_not_finish_has_failed(open_store: Open) -> None:
    """It is not said to be in progress for ever."""
    await open_store().save(kept("a", status="in_progress"))
    found = await open_store().find("a")

    assert found is not None
    assert "failed" == found.response["status"]
    assert "the daemon ended" in found.response["error"]["message"]


@pytest.mark.parametrize("where", [0, 100, 5000])
async def test_a_damaged_file_is_set_aside(open_store: Open, tmp_path: Path, where: int) -> None:
    """A new one is begun, and the old one stays to be looked at."""
    first = open_store()
    for number in range(30):
        await first.save(kept(str(number), text="x" * 500))
    await first.close()
    path = tmp_path / "state" / "responses.db"
    content = bytearray(path.read_bytes())
    content[where:] = b"\xff" * (len(content) - where)
    path.write_bytes(content)
    store = open_store()
    await store.save(kept("new"))

    assert kept("new") == await store.find("new")
    [aside] = path.parent.glob("responses.db.damaged-*")
    assert bytes(content) == aside.read_bytes()


async def test_a_killed_daemon_loses_nothing_that_was_saved(open_store: Open, tmp_path: Path) -> None:
    """A process that is killed right after a save leaves it behind, and a whole file."""
    path = tmp_path / "state" / "responses.db"
    script = f"""
import asyncio, os, pathlib
from modelrunner.server.inference.response_store import Kept, ResponseStore
async def main():
    store = ResponseStore(pathlib.Path({str(path)!r}), limit=10**9, lifetime=1e18)
    for number in range(10**9):
        name = str(number)
        await store.save(Kept([], {{"id": name, "previous_response_id": None, "status": "completed"}}))
        print(name, flush=True)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=subprocess.PIPE)
    assert process.stdout is not None
    names = [(await process.stdout.readline()).decode().strip() for _ in range(50)]
    process.kill()
    names += (await process.stdout.read()).decode().split()
    await process.wait()
    store = open_store(lifetime=1e18)
    found = [await store.find(name) for name in names]

    assert None not in found
    with sqlite3.connect(path) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the way out."""
    (tmp_path / "file").write_text("")
    store = ResponseStore(tmp_path / "file" / "responses.db", limit=1000, lifetime=1)

    with pytest.raises(StoreError, match="cannot keep responses") as caught:
        await store.save(kept("a"))
    assert "DMR_RESPONSES_PATH" in (caught.value.hint or "")
    await store.close()


async def test_a_response_can_be_of_any_shape(open_store: Open) -> None:
    """Characters of every kind come back as they were."""
    value: Any = {"id": "é😀", "previous_response_id": None, "status": "completed", "text": "\u0000\u2028"}
    store = open_store()
    await store.save(Kept([], value))

    assert Kept([], value) == await store.find("é😀")


@pytest.mark.parametrize(
    ("column", "content"),
    [
        ("response", b"{}"),
        ("response", b"[]"),
        ("response", b"nonsense"),
        ("response", b'{"id": "b", "status": 5, "previous_response_id": null, "output": []}'),
        ("input", b"\xff"),
        ("input", b'{"a": 1}'),
        ("input", b"[1, 2]"),
    ],
)
async def test_a_damaged_response_is_as_if_it_were_not_there(
    open_store: Open, tmp_path: Path, column: str, content: bytes
) -> None:
    """Nor is what follows it; the others are."""
    store = open_store()
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        await store.save(kept(name, previous))
    with sqlite3.connect(tmp_path / "state" / "responses.db") as connection:
        connection.execute(f"UPDATE responses SET {column} = ? WHERE id = 'b'", (content,))

    assert await store.find("b") is None
    with pytest.raises(PreviousNotFound):
        await store.chain("c")
    assert kept("a") == await store.find("a")
    assert await store.delete("b")


async def test_a_chain_that_comes_back_to_itself_ends(open_store: Open) -> None:
    store = open_store()
    await store.save(kept("a", "b"))
    await store.save(kept("b", "a"))

    with pytest.raises(PreviousNotFound):
        await store.chain("a")


async def test_a_file_that_is_deleted_meanwhile_is_begun_anew(open_store: Open, tmp_path: Path) -> None:
    """What comes after that is kept, and what was in it does not come back with its journal."""
    store = open_store()
    await store.save(kept("a"))
    (tmp_path / "state" / "responses.db").unlink()

    assert await store.find("a") is None
    await store.save(kept("b"))
    await store.close()
    assert kept("b") == await open_store().find("b")

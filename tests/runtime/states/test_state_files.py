"""The files of saved states: whole or not there, within their bounds, and nobody else's."""

import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from modelrunner.engines.states import Tokens
from modelrunner.runtime.states.state_files import StateFiles, StateFolder

MODEL = "ab" * 32
LIMIT = 10_000


def read(state: BinaryIO) -> Tokens | None:
    """States of these tests are their tokens, a byte each, up to a zero; damaged ones begin with 255."""
    tokens = tuple(state.read().partition(b"\0")[0])
    return None if tokens[:1] == (255,) else tokens


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    return StateFiles(tmp_path / "states", LIMIT)


@pytest.fixture
def folder(files: StateFiles) -> StateFolder:
    return files.folder(MODEL, "key")


def save(folder: StateFolder, tokens: bytes, size: int = 0) -> str | None:
    """Save as an engine and the daemon do: written beside its place, then published."""
    content = tokens + bytes(max(0, size - len(tokens)))
    name = folder.unfinished()
    (folder.path / name).write_bytes(content)
    saved = folder.publish(name, len(content), read)
    return None if saved is None else saved.file


def age(folder: StateFolder, file: str | None, seconds: float) -> None:
    assert file is not None
    then = time.time() - seconds
    os.utime(folder.path / file, (then, then))


def test_a_published_state_is_found_with_its_tokens(folder: StateFolder) -> None:
    """Also by another process that opens the folder."""
    file = save(folder, b"\1\2\3")

    [saved] = folder.saved(read)
    assert (saved.file, tuple(saved.tokens)) == (file, (1, 2, 3))
    assert folder.intact(saved.file)


def test_each_model_and_configuration_has_a_folder(files: StateFiles, folder: StateFolder) -> None:
    """States are never found by another."""
    save(folder, b"\1")

    assert files.folder(MODEL, "other key").saved(read) == []
    assert files.folder("cd" * 32, "key").saved(read) == []


def test_nobody_else_can_look(folder: StateFolder) -> None:
    """They hold what people wrote."""
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.path.parent.stat().st_mode) == 0o700


def test_a_file_of_another_length_is_no_state(folder: StateFolder) -> None:
    """The engine said how much it wrote; half a file is not taken for whole."""
    name = folder.unfinished()
    (folder.path / name).write_bytes(b"\1\2")

    assert folder.publish(name, 3, read) is None
    assert list(folder.path.iterdir()) == []


def test_a_file_that_cannot_be_read_is_deleted(folder: StateFolder) -> None:
    """Before it is published, and when it is found."""
    assert save(folder, b"\xff") is None
    (folder.path / "x.state").write_bytes(b"\xff")

    assert folder.saved(read) == []
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"\1\2\4", b"\0\0\0", b"\1\2", b""])
def test_damage_is_noticed(folder: StateFolder, damage: bytes) -> None:
    """A crash of the machine may leave a file without its content."""
    file = save(folder, b"\1\2\3")
    assert file is not None
    (folder.path / file).write_bytes(damage)

    assert not folder.intact(file)
    assert not folder.intact("absent.state")


def test_a_longer_conversation_replaces_the_shorter(folder: StateFolder) -> None:
    """What it begins with need not be kept twice."""
    save(folder, b"\1\2")
    save(folder, b"\1\3")
    save(folder, b"\1\2\3")

    assert {tuple(saved.tokens) for saved in folder.saved(read)} == {(1, 3), (1, 2, 3)}


def test_what_was_used_longest_ago_makes_room(files: StateFiles, folder: StateFolder) -> None:
    """Of all models; a state that was of use counts as new."""
    other = files.folder("cd" * 32, "key")
    old, older, oldest = save(folder, b"\1", 4000), save(other, b"\2", 4000), save(folder, b"\3", 1000)
    for place, file, seconds in ((folder, old, 10), (other, older, 20), (folder, oldest, 30)):
        age(place, file, seconds)
    assert oldest is not None
    folder.touch(oldest)
    save(folder, b"\4", 4000)

    assert {tuple(saved.tokens) for saved in folder.saved(read)} == {(1,), (3,), (4,)}
    assert other.saved(read) == []


def test_a_state_that_is_larger_than_the_limit_does_not_stay(folder: StateFolder) -> None:
    """The limit is one."""
    save(folder, b"\1", LIMIT + 1)

    assert folder.saved(read) == []


def test_what_a_killed_daemon_left_unfinished_goes(files: StateFiles, folder: StateFolder) -> None:
    """After an hour; until then somebody may be writing it."""
    for name in ("new.part", "old.part"):
        (folder.path / name).write_bytes(b"\1")
    age(folder, "old.part", 7200)
    files.folder("cd" * 32, "key")
    files.trim()

    assert [path.name for path in folder.path.iterdir()] == ["new.part"]
    assert folder.saved(read) == []


def test_states_of_a_model_are_forgotten_with_it(files: StateFiles, folder: StateFolder) -> None:
    """And only those."""
    save(folder, b"\1")
    other = files.folder("cd" * 32, "key")
    save(other, b"\2")
    files.forget(MODEL)

    assert not folder.path.exists()
    assert len(other.saved(read)) == 1


def test_clearing_deletes_nothing_but_states(files: StateFiles, folder: StateFolder, tmp_path: Path) -> None:
    """The folder may be one that a user has other things in."""
    precious = tmp_path / "states" / "thesis"
    precious.mkdir()
    save(folder, b"\1")
    files.clear()

    assert list((tmp_path / "states").iterdir()) == [precious]


def test_no_room_turns_it_off(tmp_path: Path) -> None:
    """A limit of nothing means that nothing is kept."""
    assert StateFiles(tmp_path, 0).off
    assert not StateFiles(tmp_path, 1).off

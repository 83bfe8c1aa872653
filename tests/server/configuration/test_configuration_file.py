"""The file of configurations: whole after every crash, readable by people, kind to other versions."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelrunner.engines.base import Options
from modelrunner.errors import InvalidRequest, StoreError
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.server.configuration import configuration_file
from modelrunner.server.configuration.configuration import Configuration, KeepAlive
from modelrunner.server.configuration.configuration_file import ConfigurationFile, Entry
from tests.server.configuration.configuration_crash import STORY, file_in

PROGRAM = Path(__file__).with_name("configuration_crash.py")
MODEL = Digest.of(b"model")
ENTRY = Entry(
    "llama.cpp",
    Mode.COMPLETION,
    MODEL,
    parse_reference("ai/x"),
    Configuration(
        options=Options(context_size=512, flags=("--temp", "0"), reasoning_budget=-1),
        keep_alive=KeepAlive(90.0),
        speculative={"draft_model": "ai/d", "num_tokens": 4},
        vllm={"hf-overrides": {"a": [1, {"b": None}]}},
        pinned=True,
        memory_check=False,
    ),
)
LINE: dict[str, Any] = {
    "engine": "llama.cpp",
    "mode": "completion",
    "name": "docker.io/ai/x:latest",
    "model": str(MODEL),
    "config": {"context-size": 512},
}


@pytest.fixture
def file(tmp_path: Path) -> ConfigurationFile:
    return file_in(tmp_path)


def write(root: Path, document: object) -> Path:
    path = root / "configurations.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def read(root: Path) -> tuple[Entry, ...]:
    file = file_in(root)
    file.read()
    return file.entries


def test_everything_comes_back(tmp_path: Path, file: ConfigurationFile) -> None:
    """Each field of a configuration."""
    file.edit(lambda _: (ENTRY,))

    assert (ENTRY,) == read(tmp_path)
    assert {"version", "configurations"} == set(json.loads((tmp_path / "configurations.json").read_text()))


def test_no_file_is_nothing_configured(tmp_path: Path, file: ConfigurationFile) -> None:
    """And reading, or forgetting nothing, makes none."""
    file.read()
    file.edit(lambda entries: entries)

    assert () == file.entries
    assert not (tmp_path / "configurations.json").exists()


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 1, "configurations": [1]}',
        "[" * 100_000,
        "\x00" * 99,
    ],
)
@pytest.mark.parametrize("first", ["read", "edit"])
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: str, first: str
) -> None:
    """Its bytes stay for whoever wants to mend it, the log says so, and the next edit begins anew."""
    write(tmp_path, damaged)
    file = file_in(tmp_path)
    if first == "read":
        file.read()
        assert () == file.entries
    file.edit(lambda entries: (*entries, ENTRY))

    assert (ENTRY,) == read(tmp_path)
    assert damaged == (tmp_path / "aside" / "configurations.json.1").read_text()
    assert "damaged configurations set aside" in caplog.text


def test_no_file_is_written_that_would_not_be_read_again(
    tmp_path: Path, file: ConfigurationFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too much is refused, and the file stays as it was."""
    file.edit(lambda _: (ENTRY,))
    monkeypatch.setattr(configuration_file, "_LARGEST", (tmp_path / "configurations.json").stat().st_size)
    with pytest.raises(InvalidRequest, match="too much is configured"):
        file.edit(lambda entries: (*entries, replace(ENTRY, mode=Mode.EMBEDDING)))

    assert (ENTRY,) == file.entries == read(tmp_path)


def test_a_second_damaged_file_does_not_replace_the_first(tmp_path: Path) -> None:
    """Each gets a name of its own."""
    for text in ("one", "two"):
        write(tmp_path, text)
        read(tmp_path)

    assert ["one", "two"] == [path.read_text() for path in sorted((tmp_path / "aside").iterdir())]


def test_what_a_later_version_wrote_is_kept(tmp_path: Path, file: ConfigurationFile) -> None:
    """Of the document, of an entry and of its configuration; what is known of them is used."""
    line = {**LINE, "colour": "red", "config": {"context-size": 512, "priority": 3}}
    write(tmp_path, {"version": 2, "configurations": [line], "more": [1]})
    file.read()
    assert 512 == file.entries[0].configuration.options.context_size

    file.edit(lambda entries: (*entries, ENTRY))
    document = json.loads((tmp_path / "configurations.json").read_text())
    assert (2, [1], line) == (document["version"], document["more"], document["configurations"][0])


@pytest.mark.parametrize(
    "unusable",
    [
        {**LINE, "mode": "singing"},
        {**LINE, "model": "md5:x"},
        {**LINE, "name": "NO NAME"},
        {**LINE, "config": {"runtime-flags": ["--log-file", "x"]}},
        {**LINE, "config": {"context-size": "big"}},
        {"colour": "red"},
    ],
)
def test_an_entry_that_cannot_be_used_is_kept(
    tmp_path: Path, file: ConfigurationFile, caplog: pytest.LogCaptureFixture, unusable: dict[str, Any]
) -> None:
    """It applies to nothing here, and the others do; a flag that is refused does not come in by the file."""
    write(tmp_path, {"version": 1, "configurations": [unusable, LINE]})
    file.read()
    assert [512] == [entry.configuration.options.context_size for entry in file.entries]
    assert "configuration not used" in caplog.text

    file.edit(lambda _: ())
    assert [unusable] == json.loads((tmp_path / "configurations.json").read_text())["configurations"]


def test_a_change_of_somebody_else_is_noticed(tmp_path: Path, file: ConfigurationFile) -> None:
    """One's own is not."""
    file.edit(lambda _: (ENTRY,))
    assert not file.has_changed()

    file_in(tmp_path).edit(lambda _: ())
    assert file.has_changed()
    file.read()
    assert (False, ()) == (file.has_changed(), file.entries)


_MAKE_PIPE = getattr(os, "mkfifo", None)  # not on Windows


@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
@pytest.mark.parametrize("make", [Path.mkdir, _MAKE_PIPE, lambda path: path.symlink_to(path)])
def test_a_file_that_cannot_be_read_is_an_error_only_when_it_is_edited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    """The daemon starts all the same, says so once, and leaves alone what is there."""
    path = tmp_path / "configurations.json"
    make(path)
    before = path.lstat()
    file = file_in(tmp_path)
    file.read()
    file.read()

    with pytest.raises(StoreError):
        file.edit(lambda _: (ENTRY,))
    assert () == file.entries
    assert 1 == caplog.text.count("configurations not read")
    assert os.path.samestat(before, path.lstat())


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a signal")
def test_killed_at_every_change_of_the_disk(tmp_path: Path) -> None:
    """Whenever it dies, what is found is a moment of the story, and the next edit goes through."""
    run = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    attempts = int(run.stdout)
    seen: list[int] = []
    for number in range(1, attempts + 1):
        root = tmp_path / f"{number:04}"
        entries = read(root)
        assert entries in STORY, number
        seen.append(STORY.index(entries))
        assert b'{"version": 1, "conf' == (root / "aside" / "configurations.json.1").read_bytes()
        file = file_in(root)
        file.edit(lambda before: (*before, ENTRY))
        assert (*entries, ENTRY) == read(root)
        assert [] == list((root / ".locks").iterdir())

    assert seen == sorted(seen)
    assert set(seen) == set(range(len(STORY)))
    assert attempts > 20

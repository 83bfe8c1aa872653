"""The file that configurations are kept in: `configurations.json` beside the models.

    {"version": 1, "configurations": [
      {"engine": "llama.cpp", "mode": "completion", "name": "docker.io/ai/smollm2:latest",
       "model": "sha256:...", "config": {"context-size": 8192}}]}

Whoever reads it, or dies while writing it, finds a whole file. Fields of a later version are kept, and so are
entries that this version cannot use. A file that is no such document is set aside, never an error.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import cast

import msgspec

from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference, parse_reference
from modelrunner.server.configuration.configuration import Configuration, configuration
from modelrunner.store.disk import explaining, open_file, sync_directory, write_atomically
from modelrunner.store.locks import holding
from modelrunner.units import format_bytes
from modelrunner.wire.configuration import ConfigureOptions

_log = logging.getLogger(__name__)
VERSION = 1
_LARGEST = 64 << 20  # bytes; what is larger is nothing that we wrote
_Fields = dict[str, object]
# Time of change in nanoseconds, bytes, inode: another file has another stamp.
_Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A configuration and what it is for: the model that `name` leads to, or else `model`.

    `later` are fields of a later version, kept as they are.
    """

    engine: str
    mode: Mode
    model: Digest
    name: Reference | None
    configuration: Configuration
    later: Mapping[str, object] = field(default_factory=dict)

    @property
    def place(self) -> object:
        """What tells it from other entries."""
        return self.engine, self.mode, self.model, self.name


@dataclass(frozen=True, slots=True)
class Document:
    """A whole file. `unusable` are entries that this version makes nothing of."""

    entries: tuple[Entry, ...] = ()
    unusable: tuple[object, ...] = ()
    version: int = VERSION
    later: Mapping[str, object] = field(default_factory=dict)


class _Line(msgspec.Struct):
    """The fields of an entry that this version knows."""

    engine: str
    mode: str
    model: str
    config: ConfigureOptions
    name: str | None = None


class _Head(msgspec.Struct):
    """The fields of a document that this version knows."""

    version: int
    configurations: list[_Fields]


def loads(data: bytes) -> Document:
    """Read a document.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        fields = msgspec.json.decode(data, type=_Fields)
        head = msgspec.convert(fields, _Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise InvalidRequest(str(exc)) from exc
    entries: list[Entry] = []
    unusable: list[object] = []
    for line in head.configurations:
        try:
            entries.append(_entry(line))
        except (RunnerError, msgspec.MsgspecError, ValueError) as exc:
            _log.warning("configuration not used model=%.200s reason=%s", line.get("name"), exc)
            unusable.append(line)
    return Document(tuple(entries), tuple(unusable), head.version, _rest(fields, _Head.__struct_fields__))


def dumps(document: Document) -> bytes:
    """Write a document, so that people can read it."""
    lines = (*map(_line, document.entries), *document.unusable)
    fields = {"version": document.version, "configurations": lines, **document.later}
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


class ConfigurationFile:
    """The file on the disk, shared with other daemons on the same models. Blocking, but for `entries`."""

    def __init__(self, path: Path, lock: Path, aside: Path) -> None:
        """`lock` is held while it is written; what is damaged goes into the folder `aside`."""
        self._path = path
        self._lock = lock
        self._aside = aside
        self._stamp: _Stamp = None
        self._complaint = ""
        self.entries: tuple[Entry, ...] = ()

    def has_changed(self) -> bool:
        """Whether somebody else has written since it was read (one `stat`)."""
        return self._look() != self._stamp

    def read(self) -> None:
        """Bring `entries` up to date; a file that cannot be read changes nothing, and is logged once."""
        complaint = ""
        try:
            self.entries = self._document().entries
        except InvalidRequest:
            self._set_aside()
        except RunnerError as exc:
            complaint = str(exc)
            if complaint != self._complaint:
                _log.error("configurations not read reason=%s", complaint)
        self._complaint = complaint

    def edit(self, change: Callable[[tuple[Entry, ...]], tuple[Entry, ...]]) -> None:
        """Change what is on the disk now, held against other processes; `entries` are those afterwards.

        Raises:
            InsufficientStorage: the disk is full; the old file stays.
            InvalidRequest: it would be too large to be read again.
            StoreError: the file cannot be read or written, or another process does not let go of it.
        """
        with holding(self._lock):
            try:
                document = self._document()
            except InvalidRequest as exc:
                self._move(exc)
                document = Document()
            after = replace(document, entries=change(document.entries))
            if after.entries != document.entries:
                self._write(dumps(after))
            self.entries, self._stamp = after.entries, self._look()

    def _write(self, data: bytes) -> None:
        if len(data) > _LARGEST:  # it would not be read again
            raise InvalidRequest(
                f"too much is configured: more than {format_bytes(_LARGEST)} in all",
                hint="forget what is not needed: `dmr configure --reset MODEL`",
            )
        with explaining("write", self._path, needed=len(data)):
            write_atomically(self._path, data)

    def _document(self) -> Document:
        """Read the file as it is; no file is an empty document."""
        with explaining("read", self._path):
            try:
                with open_file(self._path) as file:
                    self._stamp = _stamp(os.fstat(file.fileno()))
                    data = file.read(_LARGEST + 1)
            except FileNotFoundError:
                self._stamp = None
                return Document()
        if len(data) > _LARGEST:
            raise InvalidRequest(f"more than {format_bytes(_LARGEST)}")
        return loads(data)

    def _set_aside(self) -> None:
        """Look again under the lock, for another process may just have mended it."""
        try:
            with holding(self._lock):
                try:
                    self.entries = self._document().entries
                except InvalidRequest as exc:
                    self._move(exc)
                    self.entries = ()
        except RunnerError as exc:
            _log.error("damaged configurations not set aside path=%s reason=%s", self._path, exc)

    def _move(self, reason: InvalidRequest) -> None:
        with explaining("move", self._path):
            self._aside.mkdir(parents=True, exist_ok=True)
            names = (self._aside / f"{self._path.name}.{number}" for number in count(1))
            target = next(name for name in names if not name.exists())
            self._path.rename(target)
            sync_directory(self._aside)
            self._stamp = None
        _log.error("damaged configurations set aside as=%s reason=%s", target, reason)

    def _look(self) -> _Stamp:
        try:
            return _stamp(self._path.stat())
        except OSError:
            return None


def _entry(fields: _Fields) -> Entry:
    line = msgspec.convert(fields, _Line)
    config = cast("_Fields", fields["config"])  # the line before would not have converted anything else
    return Entry(
        line.engine,
        Mode(line.mode),
        Digest.parse(line.model),
        None if line.name is None else parse_reference(line.name),
        replace(
            configuration(line.config, line.engine), later=_rest(config, ConfigureOptions.__annotations__)
        ),
        _rest(fields, _Line.__struct_fields__),
    )


def _line(entry: Entry) -> _Fields:
    name = {} if entry.name is None else {"name": str(entry.name)}
    config = {**entry.configuration.as_wire(), **entry.configuration.later}
    return {
        "engine": entry.engine,
        "mode": entry.mode.value,
        **name,
        "model": str(entry.model),
        "config": config,
        **entry.later,
    }


def _rest(fields: _Fields, known: Mapping[str, object] | tuple[str, ...]) -> _Fields:
    return {name: value for name, value in fields.items() if name not in known}


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino

"""The index file and its picture in memory: read when changed, edited under a lock, saved atomically."""

import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from modelrunner.errors import RunnerError
from modelrunner.oci.digest import Digest
from modelrunner.store.blobs import Blobs
from modelrunner.store.disk import explaining, open_file, write_atomically
from modelrunner.store.index import Index, dumps, loads
from modelrunner.store.layout import Layout, initialise
from modelrunner.store.locks import holding
from modelrunner.store.lookup import Grammar, Names
from modelrunner.store.snapshot import Snapshot, read_snapshot

_log = logging.getLogger(__name__)
# Time of change in nanoseconds, bytes, inode: another index file has another stamp.
_Stamp = tuple[int, int, int] | None
_READS = 3  # attempts to read an index and its models while another process removes some


class IndexFile:
    """Which models there are. Blocking, but for `snapshot`; edits come one at a time."""

    def __init__(self, layout: Layout, blobs: Blobs, grammar: Grammar, default_registry: str) -> None:
        """Read the index, and bring it up to date.

        Raises:
            StoreError: it cannot be read.
        """
        self._layout = layout
        self._blobs = blobs
        self._grammar = grammar
        self._default_registry = default_registry
        self._reading = threading.Lock()
        self._stamp: _Stamp = None
        self.snapshot = Snapshot((), grammar)
        self._migrate()
        self._reload()

    @contextmanager
    def edit(self) -> Iterator[Index]:
        """Hold the index against other processes, and yield what is on the disk now.

        Raises:
            StoreError: it cannot be read, or another process does not let go of it.
        """
        initialise(self._layout)
        with holding(self._layout.index_lock):
            yield self._read()[0]

    def save(self, index: Index) -> None:
        """Replace the index file and the snapshot, inside `edit`.

        Raises:
            InsufficientStorage: the disk is full; the old index stays.
            StoreError: it cannot be written.
        """
        self._write(index)
        self._reload()

    def refresh(self) -> bool:
        """Read the index again if somebody else has changed it; says whether that was so.

        An index that cannot be read is logged once, and what was known before stays.
        """
        stamp = self._look()
        if stamp == self._stamp or self._reading.locked():  # an edit of our own is just reading it
            return False
        try:
            self._reload()
        except RunnerError as exc:
            self._stamp = stamp
            _log.warning("index not read again root=%s reason=%s", self._layout.root, exc)
            return False
        return True

    def read(self) -> Index:
        """The index as it is on the disk now.

        Raises:
            StoreError: it cannot be read.
        """
        return self._read()[0]

    def names(self, index: Index) -> Names:
        """Everything that an index lists, also what is damaged: that has to be found, too."""
        return Names(((model, index.references(entry)) for model, entry in index.listed), self._grammar)

    def doubt(self, models: Collection[Digest]) -> None:
        """Look again whether all files of some models are here, although the index has not changed.

        Raises:
            StoreError: the index cannot be read.
        """
        self._reload(models)

    def _migrate(self) -> None:
        index, _ = self._read()
        if index.migrated() == index:
            return
        try:
            with self.edit() as current:
                self._write(current.migrated())
        except RunnerError as exc:  # a store that may only be read is read all the same
            _log.warning("index not migrated root=%s reason=%s", self._layout.root, exc)

    def _look(self) -> _Stamp:
        try:
            return _stamp(self._layout.index.stat())
        except OSError:
            return None

    def _read(self) -> tuple[Index, _Stamp]:
        with explaining("read", self._layout.index):
            try:
                with open_file(self._layout.index) as file:
                    stamp = _stamp(os.fstat(file.fileno()))
                    data = file.read()
            except FileNotFoundError:
                return Index(default_registry=self._default_registry), None
        return loads(data, default_registry=self._default_registry), stamp

    def _write(self, index: Index) -> None:
        data = dumps(index)
        with explaining("write", self._layout.index, needed=len(data)):
            write_atomically(self._layout.index, data)

    def _reload(self, doubted: Collection[Digest] = ()) -> None:
        with self._reading:
            trusted = self.snapshot.without(doubted)
            for attempt in range(1, _READS + 1):
                index, stamp = self._read()
                snapshot = read_snapshot(index, self._layout, self._blobs, self._grammar, trusted)
                # A model that another process removes while we read looks damaged: read again.
                if not snapshot.problems or stamp == self._look() or attempt == _READS:
                    break
            for problem in set(snapshot.problems) - set(self.snapshot.problems):
                _log.warning("damaged entry in store root=%s problem=%s", self._layout.root, problem)
            self.snapshot, self._stamp = snapshot, stamp


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino

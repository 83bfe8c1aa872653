"""Which configuration applies to which model: those of all models, in memory, and kept in a file.

A configuration belongs to the name by which it was made, and follows it to whatever model the name leads to
next; when the name is gone, it stays with the model. One that was made by an id belongs to that model.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.configuration.configuration_file import ConfigurationFile, Entry
from modelrunner.store.offload import in_thread
from modelrunner.store.snapshot import Snapshot

# A change of entries, made once in memory and once more in the file, which other processes write to as well.
Change = Callable[[tuple[Entry, ...]], tuple[Entry, ...]]
_MOST = 10_000  # entries; the oldest go first
_NOTHING = Configuration()


class Configurations:
    """All configurations. Changes come in two steps: at once in memory, then, awaited, in the file."""

    def __init__(
        self, file: ConfigurationFile, *, snapshot: Callable[[], Snapshot], keep_alive: float | None
    ) -> None:
        """Read the file. `snapshot` is what the store has at the moment.

        `keep_alive` is in seconds, None for ever, for models that were not configured.
        """
        self._file = file
        self._snapshot = snapshot
        self._default = keep_alive
        self._saving = asyncio.Lock()
        file.read()
        self._unsaved: list[Change] = []
        self._entries = file.entries
        self._seen: Snapshot | None = None
        self._by_key: Mapping[Key, Entry] = {}

    @property
    def by_key(self) -> Mapping[Key, Entry]:
        """The entry of each key; another mapping whenever the models or the entries are others."""
        snapshot = self._snapshot()
        if snapshot is not self._seen:
            found: dict[Key, Entry] = {}
            for entry in self._entries:
                key = _key(entry, snapshot)
                if snapshot.get(key.model) is not None:
                    found.pop(key, None)  # so that the latest comes last
                    found[key] = entry
            self._by_key, self._seen = found, snapshot
        return self._by_key

    def exact(self, key: Key) -> Configuration | None:
        """What was configured for exactly this."""
        entry = self.by_key.get(key)
        return None if entry is None else entry.configuration

    def effective(self, key: Key) -> Configuration:
        """What an instance is run with: its mode's own, else what the model has for completion, else nothing.

        Only a pin is for one mode: what is pinned to talk need not also be kept to embed.
        """
        own = self.exact(key)
        if own is not None or key.mode is Mode.COMPLETION:
            return own or _NOTHING
        return self.exact(Key(key.engine, key.model, Mode.COMPLETION)) or _NOTHING

    def keep_alive(self, key: Key) -> float | None:
        """How long an idle instance stays, in seconds; None for ever."""
        if not self._entries:
            return self._default
        if self.pinned(key):
            return None
        configured = self.effective(key).keep_alive
        return self._default if configured is None else configured.seconds

    def pinned(self, key: Key) -> bool:
        """Whether an instance is to stay in memory whatever comes."""
        configured = self.exact(key)
        return configured is not None and configured.pinned

    def memory_check(self, key: Key) -> bool:
        """Whether a load is refused that seems too large for the memory."""
        return self.effective(key).memory_check

    def affected(self, key: Key) -> tuple[Key, ...]:
        """Whose effective configuration changes with that of a key."""
        keys = (Key(key.engine, key.model, mode) for mode in Mode)
        return tuple(
            other
            for other in keys
            if other == key or (key.mode is Mode.COMPLETION and self.exact(other) is None)
        )

    def items(self) -> tuple[tuple[Key, Configuration], ...]:
        """Everything that was configured and applies to a model that is here, the latest last."""
        return tuple((key, entry.configuration) for key, entry in self.by_key.items())

    def put(self, key: Key, name: Reference | None, configuration: Configuration) -> Change:
        """Replace what applies to a key, in memory; give what `save` is to be called with.

        `name` is what the model was called, None when by its id.
        """
        dropped = self._applying(key)
        entry = Entry(key.engine, key.mode, key.model, name, configuration)

        def change(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            kept = tuple(other for other in entries if other.place not in dropped)
            return (*kept, entry)[-_MOST:]

        return self._change(change)

    def forget(self, keys: Iterable[Key]) -> Change:
        """Forget what applies to some keys, in memory."""
        dropped = frozenset().union(*(self._applying(key) for key in keys))
        return self._change(lambda entries: tuple(e for e in entries if e.place not in dropped))

    def forget_all(self) -> Change:
        """Forget everything, also what applies to nothing that is here."""
        return self._change(lambda _: ())

    def of_model(self, model: Digest) -> tuple[Key, ...]:
        """The keys of a model that were configured."""
        return tuple(key for key in self.by_key if key.model == model)

    def forget_model(self, model: Digest, names: Iterable[Reference]) -> Change:
        """Forget, in memory, how a model that is gone was to be run, also by one of the names it had."""
        gone, snapshot = frozenset(names), self._snapshot()

        def change(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(e for e in entries if e.name not in gone and _key(e, snapshot).model != model)

        return self._change(change)

    def pass_on(self, name: Reference, model: Digest, successor: Reference | None) -> Change:
        """Give, in memory, what belongs to a name that a model has lost to its other name, or to its id."""

        def change(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(replace(e, name=successor, model=model) if e.name == name else e for e in entries)

        return self._change(change)

    def take_back(self, change: Change) -> None:
        """Undo in memory what is not saved."""
        self._unsaved.remove(change)
        self._replay()

    async def save(self, change: Change) -> None:
        """Make a change last; when that fails, it is taken back in memory.

        Raises:
            InsufficientStorage: the disk is full.
            StoreError: the file cannot be written.
        """
        try:
            async with self._saving:
                await in_thread(self._file.edit, change)
        finally:
            self.take_back(change)  # the file has it now, or never will

    async def refresh(self) -> None:
        """Read the file again if another process has changed it."""
        if self._saving.locked() or not self._file.has_changed():
            return
        async with self._saving:
            await in_thread(self._file.read)
        self._replay()

    def _change(self, change: Change) -> Change:
        self._unsaved.append(change)
        self._replay()
        return change

    def _replay(self) -> None:
        """Put on top of what the file has what it does not have yet."""
        entries = self._file.entries
        for change in self._unsaved:
            entries = change(entries)
        self._entries = entries
        self._seen = None

    def _applying(self, key: Key) -> frozenset[object]:
        """Where the entries are that mean a key, also those behind the one that counts."""
        snapshot = self._snapshot()
        return frozenset(entry.place for entry in self._entries if _key(entry, snapshot) == key)


def _key(entry: Entry, snapshot: Snapshot) -> Key:
    """What an entry is for, now: the model of its name, or else the model that it was made for."""
    named = None if entry.name is None else snapshot.find_reference(entry.name)
    return Key(entry.engine, entry.model if named is None else named.id, entry.mode)

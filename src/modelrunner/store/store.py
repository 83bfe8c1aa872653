"""The store: models on disk, by digest and by name. Source and Sink of every copy; edits one at a time.

Nothing is visible before all of it is here: a commit writes the manifest, then the index; a removal writes
the index, then deletes. So a crash at any moment leaves at most files that nothing names, which
`collect_garbage` deletes. Only when the disk is too full for the index does a removal delete first; a crash
then may leave a damaged entry. What others ask between edits is answered from a snapshot in memory.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from modelrunner.errors import (
    BlobMissing,
    InsufficientStorage,
    InvalidReference,
    InvalidRequest,
    ModelNotFound,
    RunnerError,
    StoreError,
)
from modelrunner.oci.chunks import Piece
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import DOCKER_HUB, Reference, parse_reference
from modelrunner.store import layout as places
from modelrunner.store.adopt import Adopted, Count, Way, hash_file, ignore, take
from modelrunner.store.blobs import PULL_AGAIN, Blobs
from modelrunner.store.disk import (
    explaining,
    files_below,
    free_bytes,
    no_room,
    remove_quietly,
    write_atomically,
)
from modelrunner.store.index import Index
from modelrunner.store.indexfile import IndexFile
from modelrunner.store.landing import Landing
from modelrunner.store.layout import Layout
from modelrunner.store.locks import Turns
from modelrunner.store.lookup import AsId, Grammar, Parse
from modelrunner.store.offload import in_thread
from modelrunner.store.partial import SUFFIX
from modelrunner.store.removal import Removal, Step, plan_removal
from modelrunner.store.snapshot import Snapshot, StoredModel, read_model
from modelrunner.store.upkeep import Upkeep
from modelrunner.store.wanted import Wanted

_log = logging.getLogger(__name__)
GRACE = 24 * 3600.0  # seconds for which files that nothing names may belong to a pull that is not finished
_ID = re.compile(r"(?:sha256:(?=.{64}$))?([0-9a-f]{64}|[0-9a-f]{12})", re.ASCII)


class Store:
    """A store in one directory, shared with other processes and with the reference."""

    def __init__(
        self,
        root: Path,
        *,
        parse: Parse | None = None,
        as_id: AsId | None = None,
        default_registry: str = DOCKER_HUB,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        """Open the store in `root`, making it if there is none; blocks for the time of some file reads.

        `parse` and `as_id` say how people write names and ids; without them only plain ones are known.
        `free` measures how many bytes can still be written.

        Raises:
            InsufficientStorage: the disk is full.
            StoreError: the directory or its index cannot be read, or the directory cannot be made.
        """
        self._layout = Layout(root)
        self._grammar = Grammar(
            parse or partial(parse_reference, default_registry=default_registry), as_id or _as_id
        )
        self._default_registry = default_registry
        self._free = free
        self._turns = Turns(self._layout.locks)
        self._blobs = Blobs(self._layout.blobs, self._turns)
        self._editing = asyncio.Lock()
        self._wanted = Wanted()
        places.initialise(self._layout)
        places.sweep_out(self._layout, self._turns)
        self._index_file = IndexFile(self._layout, self._blobs, self._grammar, default_registry)
        self.upkeep = Upkeep(self._layout, self._turns, self._index_file, self._editing, self._wanted)

    @property
    def root(self) -> Path:
        """The directory of the store."""
        return self._layout.root

    @property
    def snapshot(self) -> Snapshot:
        """All usable models at this moment; costs nothing."""
        return self._index_file.snapshot

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each entry that is left out because its files are missing or damaged."""
        return self.snapshot.problems

    def refresh(self) -> bool:
        """Read the index again if another process has changed it (one `stat` if not); says whether it had."""
        return self._index_file.refresh()

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self._blobs.path(digest)

    def bundle_path(self, model: Digest) -> Path:
        """Where a model is laid out for engines, or would be; goes when the model goes."""
        return self._layout.bundle(model)

    async def manifest(self, reference: Reference) -> Manifest:
        """The manifest that a reference names.

        Raises:
            ModelNotFound: no such model here.
        """
        model = self.snapshot.find_reference(reference)
        if model is None:
            raise _not_found(reference.familiar)
        return model.manifest

    def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[Piece]]]:
        """Open a blob's bytes from `start` up to `stop`, in bytes; the int is always `start`.

        Raises:
            StoreError: the blob is missing or damaged.
        """
        return self._blobs.open(blob, start, stop)

    @asynccontextmanager
    async def claim(self, blob: Descriptor) -> AsyncIterator[int]:
        """Hold the sole right to write `blob`, in all processes; yield the verified bytes already here.

        Raises:
            DigestMismatch: the blob is here, and its size is not the one that is claimed.
            StoreError: the disk refuses.
        """
        with self._wanted.claimed(blob.digest):
            async with self._blobs.claim(blob) as done:
                yield done

    @asynccontextmanager
    async def land(self, blob: Descriptor) -> AsyncIterator[Landing | None]:
        """Hold the sole right to write `blob`, in any order; yield where to, or None when it is complete.

        Raises:
            DigestMismatch: the blob is here, and its size is not the one that is claimed.
            InsufficientStorage: the disk is full.
            StoreError: the disk refuses.
        """
        with self._wanted.claimed(blob.digest):
            async with self._blobs.land(blob) as landing:
                yield landing

    @asynccontextmanager
    async def land_unnamed(self, key: Descriptor) -> AsyncIterator[Landing]:
        """Hold the sole right to write a blob whose digest nobody knows yet; that of `key` stands for it.

        Raises:
            InsufficientStorage: the disk is full.
            StoreError: the disk refuses.
        """
        with self._wanted.claimed(key.digest):
            async with self._blobs.land_unnamed(key) as landing:
                yield landing
                self._wanted.add(landing.digest)

    async def write(self, blob: Descriptor, offset: int, chunks: AsyncIterator[Piece]) -> None:
        """Append the rest of a claimed blob, from `offset` to its end, and verify its digest.

        Raises:
            DigestMismatch: these are other bytes than the digest says; they are deleted.
            InsufficientStorage: the disk is full; what was written stays for the next attempt.
            StoreError: no claim is held, bytes are missing, or the disk refuses.
        """
        await self._blobs.write(blob, offset, chunks)

    async def adopt(
        self, source: Path, *, way: Way, expected: Digest | None = None, count: Count = ignore
    ) -> Adopted:
        """Bring a file that another program has here in as a blob, sharing as much as `way` allows.

        It is read once, and not at all when `expected` is here. `count` is told of bytes, from a thread.

        Raises:
            DigestMismatch: the file is not what `expected` says.
            InsufficientStorage: a copy does not fit.
            InvalidRequest: it is no regular file, cannot be read, or was written to meanwhile.
            StoreError: the disk refuses.
        """
        stop = threading.Event()
        if expected is None and await in_thread(self._may_be_here, source):
            expected, _ = await in_thread(partial(hash_file, source, count=count, stop=stop), stop=stop)
        bring = partial(take, source, self._layout.blobs, way=way, expected=expected, count=count, stop=stop)
        if expected is None:
            adopted = await in_thread(bring, stop=stop)
        else:
            with self._wanted.claimed(expected):
                async with self._turns.turn(expected):
                    size = self._blobs.size(expected)
                    if size is not None and size == await in_thread(_size, source):
                        return Adopted(expected, size, None)
                    adopted = await in_thread(bring, stop=stop)
        self._wanted.add(adopted.digest)
        return adopted

    async def commit(self, manifest: Manifest, tags: Sequence[Reference]) -> None:
        """Make a model visible: its manifest first, then its entry with the names.

        A reference without a tag adds no name: a model that was asked for by digest is found by its digest.

        Raises:
            BlobMissing: a blob is not here, or has another size.
            StoreError: the configuration is damaged, or the disk refuses.
        """
        names = [tag.without_digest for tag in tags if tag.tag is not None]
        async with self._editing:
            await in_thread(self._commit, manifest, names)
        self._wanted.remove({blob.digest for blob in manifest.blobs})

    async def is_whole(self, model: StoredModel) -> bool:
        """Whether all files of a model are still here, with their sizes, which the snapshot does not know."""

        def look() -> bool:
            sizes_are_right = all(self._blobs.size(blob.digest) == blob.size for blob in model.manifest.blobs)
            return sizes_are_right and self._layout.manifest(model.id).is_file()

        return await in_thread(look)

    async def ensure_room(self, manifest: Manifest) -> None:
        """Make sure, before the first byte, that what is missing of a model fits on the disk.

        Raises:
            InsufficientStorage: it does not.
        """
        await self.ensure_space(await self.missing_bytes(manifest.blobs))

    async def missing_bytes(self, blobs: Iterable[Descriptor]) -> int:
        """How many bytes of some blobs would still have to be written; partial files count as present."""
        return await in_thread(self._blobs.missing_bytes, tuple(blobs))

    async def ensure_space(self, needed: int) -> None:
        """Make sure that some bytes fit on the disk.

        Raises:
            InsufficientStorage: they do not.
        """
        with explaining("measure", self.root):
            free = await in_thread(self._free, self.root)
        if needed > free:
            raise no_room(self.root, needed=needed, free=free)

    async def tag(self, model: Digest, reference: Reference) -> None:
        """Give a name to a model; another model that had it loses it.

        Raises:
            InvalidReference: the reference has no tag, or a digest that is not the model's.
            ModelNotFound: the model is not here.
        """
        if reference.tag is None or reference.digest not in {None, model}:
            raise InvalidReference(
                f"not a name for model `{model.short}`: `{reference.familiar}`",
                hint="write it like `ai/smollm2:latest`, without a digest",
            )
        await self._change(lambda index: index.tag(model, reference.without_digest))

    async def untag(self, reference: Reference) -> None:
        """Take a name away; the model stays, without names if this was the last.

        Raises:
            ModelNotFound: no model has that name.
        """

        def change(index: Index) -> Index:
            after = index.untag(reference.without_digest)
            if after == index:
                raise _not_found(reference.familiar)
            return after

        await self._change(change)

    async def remove(self, text: str, *, force: bool = False) -> list[Step]:
        """Take away a name or a model, as `text` says; blobs of other models stay.

        Returns what was done: ("untagged", canonical name) and ("deleted", id), in this order.

        Raises:
            Conflict: the text is an id of a model with several names, and `force` is not set.
            InvalidReference: the text is neither an id nor a name.
            ModelNotFound: no such model here.
        """
        async with self._editing:
            return await in_thread(partial(self._remove, text, force=force))

    @property
    def is_receiving(self) -> bool:
        """Whether a blob is on its way in, by this process."""
        return self._wanted.is_claimed

    async def purge(self) -> None:
        """Delete every model and everything else of the store; files of others in its directory stay.

        Raises:
            StoreError: the directory is not empty and no store, or something in it cannot be deleted.
        """
        async with self._editing:
            await in_thread(self._purge)

    async def collect_garbage(self, older_than: float = GRACE) -> int:
        """Delete files that nothing names and that are older than some seconds; the bytes that were freed.

        They come from pulls that failed or were broken off, and from crashes.
        """
        return (await self.upkeep.prune(older_than))[1]

    async def disk_usage(self) -> int:
        """The bytes of all files of the store; a file with several names counts once."""
        return await in_thread(places.disk_usage, self._layout)

    async def _change(self, change: Callable[[Index], Index]) -> None:
        def edit() -> None:
            with self._index_file.edit() as index:
                self._index_file.save(change(index))

        async with self._editing:
            await in_thread(edit)

    def _commit(self, manifest: Manifest, names: Sequence[Reference]) -> None:
        model = manifest.digest
        with self._index_file.edit() as index:
            for blob in manifest.blobs:
                if self._blobs.size(blob.digest) != blob.size:
                    raise BlobMissing(
                        f"missing blob `{blob.digest}` for manifest, refusing to write it",
                        hint=PULL_AGAIN,
                    )
            path = self._layout.manifest(model)
            with explaining("write", path, needed=len(manifest.raw)):
                write_atomically(path, manifest.raw)
            after = index.add(model, [*(layer.digest for layer in manifest.layers), manifest.config.digest])
            for name in names:
                after = after.tag(model, name)
            try:
                read_model(model, self._layout, self._blobs)
            except InvalidRequest as exc:
                raise StoreError(f"model `{model}` is not usable: {exc}", hint=PULL_AGAIN) from exc
            self._index_file.save(after)

    def _remove(self, text: str, *, force: bool) -> list[Step]:
        with self._index_file.edit() as index:
            match = self._index_file.names(index).match(text)
            if match is None:
                raise _not_found(text)
            removal = plan_removal(index, match, text, force=force)
            self._save_with_room(
                removal.index,
                partial(self._free_remains, removal.model),
                partial(self._delete_orphans, removal),
            )
            self._delete_files(removal)
        return removal.steps

    def _delete_files(self, removal: Removal) -> None:
        if removal.model is None:
            return
        remove_quietly(self._layout.manifest(removal.model))
        remove_quietly(self._layout.bundle(removal.model))
        self._delete_orphans(removal)

    def _delete_orphans(self, removal: Removal) -> None:
        for text in removal.orphans:
            digest = _digest(text)
            if digest is not None and digest not in self._wanted:
                remove_quietly(self._blobs.path(digest))

    def _free_remains(self, model: Digest | None) -> None:
        """Delete what can be had again: downloads that nobody is writing, and a model's files for engines."""
        for path, _ in files_below(self._layout.blobs):
            if path.name.endswith(SUFFIX):
                with suppress(RunnerError):  # there may be no room for its lock
                    places.remove_partial(self._layout, self._turns, path)
        if model is not None:
            remove_quietly(self._layout.bundle(model))

    def _save_with_room(self, index: Index, *ways: Callable[[], None]) -> None:
        """Save an index that lists less; while the disk is too full even for that, make room in the next way.

        A way that takes a listed model's files leaves, after a crash, a damaged entry, which can be removed.
        """
        for make_room in ways:
            try:
                return self._index_file.save(index)
            except InsufficientStorage as exc:
                _log.warning("index not saved, making room root=%s reason=%s", self.root, exc)
            make_room()
        return self._index_file.save(index)

    def _purge(self) -> None:
        places.check_is_store(self._layout)
        with self._index_file.edit():
            self._save_with_room(
                Index(default_registry=self._default_registry), partial(places.empty, self._layout)
            )
            places.empty(self._layout)

    def _may_be_here(self, source: Path) -> bool:
        """Whether some blob has as many bytes: then it pays to hash a file before it is copied."""
        size = _size(source)
        return any(blob.size == size for model in self.snapshot.models for blob in model.manifest.layers)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidRequest:
        return None


def _as_id(text: str) -> str | None:
    match = _ID.fullmatch(text)
    return match[1] if match else None


def _not_found(text: str) -> ModelNotFound:
    return ModelNotFound(f"model not found: `{text}`", hint="see what is here with `dmr list`")

"""Pull, push and load: one copy each, between the store and the outside, told as lines of progress."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial

from modelrunner.errors import BlobMissing, DigestMismatch, InvalidRequest, RegistryError, UnsupportedModel
from modelrunner.models.bundles.placement import check_places
from modelrunner.models.description.config import ModelConfig, check_config_type, parse_config
from modelrunner.models.description.names import as_id, is_hugging_face, parse_hub_name, parse_name
from modelrunner.models.remote.hub import Hub
from modelrunner.models.remote.hub_upload import HubUpload
from modelrunner.models.remote.peek import Peek, peek
from modelrunner.models.remote.web import WebFile, is_web_file, look, web_name
from modelrunner.oci.credentials import Credential
from modelrunner.oci.digest import Digest
from modelrunner.oci.index import NamedModel
from modelrunner.oci.load import load
from modelrunner.oci.manifest import MAX_CONFIG_BYTES, Manifest
from modelrunner.oci.pace import Pace
from modelrunner.oci.reference import Reference
from modelrunner.oci.registry import Registry
from modelrunner.oci.transfer import Sink, Source, Tell, copy, read_blob
from modelrunner.oci.upload import Neighbours
from modelrunner.server.connection.progress import reported, status_line, success_line, warning_line
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.transfers.downloads import download
from modelrunner.server.transfers.unfinished import Unfinished
from modelrunner.store.snapshot import StoredModel
from modelrunner.store.store import Store
from modelrunner.wire.transfers import ProgressLine

_log = logging.getLogger(__name__)


Lines = AsyncGenerator[ProgressLine, None]
Counted = Callable[[str, Lines], Lines]


def uncounted(_kind: str, lines: Lines) -> Lines:
    """Only pass the lines on."""
    return lines


class Transfers:
    """Moves models in and out of the store."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        registry: Registry,
        hub: Hub,
        unfinished: Unfinished,
        *,
        pulls: int,
        pull_limit: int | None,
        default_registry: str,
        counted: Counted = uncounted,
    ) -> None:
        """At most `pulls` run at once, together no faster than `pull_limit`, in bytes per second.

        `default_registry` is that of names that give none; `counted` passes the lines of a transfer on.
        """
        self._store = store
        self._catalogue = catalogue
        self._registry = registry
        self._hub = hub
        self._unfinished = unfinished
        self._turns = asyncio.Semaphore(pulls)
        self._pace = Pace(pull_limit)
        self._default_registry = default_registry
        self._counted = counted

    def name(self, text: str) -> Reference:
        """Read what somebody typed as a name in a registry.

        Raises:
            InvalidReference: it is none.
        """
        return parse_name(text, default_registry=self._default_registry)

    def pull(self, text: str, token: str | None = None) -> AsyncGenerator[ProgressLine, None]:
        """Bring a model here, or find that it is here already, also while its registry cannot be asked.

        Raises:
            RunnerError: nothing was moved, if no line was yielded yet.
        """
        lines = self._download(text) if is_web_file(text) else self._pull(text, token)
        return self._counted("pull", self._unfinished.kept("pull", text, lines))

    async def _pull(self, text: str, token: str | None) -> AsyncGenerator[ProgressLine, None]:
        reference = self.name(text)
        self._store.refresh()
        here = self._store.snapshot.find_reference(reference)
        async with self._turns:
            try:
                source, manifest, remark = await self._find(text, reference, token)
            except RegistryError as exc:
                if here is None or not await self._store.is_whole(here):
                    raise
                yield warning_line(f"{exc.message}; using the model that is here", "pull")
                yield self._cached(here)
                return
            check_config_type(manifest.config.media_type)
            present = self._store.snapshot.get(manifest.digest)
            if present is not None and await self._store.is_whole(present):
                if reference.tag is not None and reference.without_digest not in present.tags:
                    await self._store.tag(present.id, reference.without_digest)
                yield self._cached(present)
                return
            await self._store.ensure_room(manifest)
            await _config(source, manifest)  # nothing is moved for what cannot be used afterwards
            if remark:
                yield status_line(remark, "pull")
            move = partial(self._move, source, manifest, reference)
            async for line in reported(move, manifest, "pull"):
                yield line
        _log.info("model pulled model=%s id=%s", reference.familiar, manifest.digest.short)
        yield success_line("Model pulled successfully", "pull")

    async def _move(self, source: Source, manifest: Manifest, reference: Reference, tell: Tell) -> None:
        bring = partial(copy, source, self._store, manifest, [reference], tell=tell, pace=self._pace)
        try:
            await bring()
        except BlobMissing as exc:  # another daemon on this store has tidied it away meanwhile
            _log.warning("fetched again model=%s reason=%s", reference.familiar, exc)
            await bring()

    async def _download(self, address: str) -> AsyncGenerator[ProgressLine, None]:
        """Bring a file of a web server here, unless what is here was made of it."""
        reference = web_name(address)
        async with self._turns:
            file = await look(self._hub.transport, address)
            self._store.refresh()
            here = self._store.snapshot.find_reference(reference)
            if here is not None and self._is_made_of(here, file) and await self._store.is_whole(here):
                yield self._cached(here)
                return
            async for line in download(self._store, file, reference, self._pace):
                yield line
        _log.info("model downloaded model=%s", reference.familiar)
        yield success_line(f"Model pulled successfully as {reference.familiar}", "pull")

    def _is_made_of(self, model: StoredModel, file: WebFile) -> bool:
        """Whether a model is what a file still is, by its size and the time of its last change."""
        created = self._catalogue.config(model).created
        sizes = [layer.size for layer in model.manifest.layers]
        return file.is_dated and created == file.changed and sizes == [file.key.size]

    def push(self, text: str, token: str | None = None) -> AsyncGenerator[ProgressLine, None]:
        """Send a model to the registry of its name.

        Raises:
            RunnerError: nothing was moved, if no line was yielded yet.
        """
        return self._counted("push", self._unfinished.kept("push", text, self._push(text, token)))

    async def _push(self, text: str, token: str | None) -> AsyncGenerator[ProgressLine, None]:
        self._store.refresh()
        model = self._store.snapshot.find(text)
        if model is None:
            raise await self._catalogue.absence(text)
        reference = self._target(text, model)
        sink, remark = await self._target_sink(text, reference, model, token)
        if remark:
            yield status_line(remark, "push")
        async for line in reported(
            lambda tell: copy(self._store, sink, model.manifest, [reference], tell=tell),
            model.manifest,
            "push",
        ):
            yield line
        _log.info("model pushed model=%s id=%s", reference.familiar, model.id.short)
        yield success_line("Model pushed successfully", "push")

    async def _target_sink(
        self, text: str, reference: Reference, model: StoredModel, token: str | None
    ) -> tuple[Sink, str | None]:
        if not is_hugging_face(text):
            sink = self._registry.repository(
                reference, credential=_bearer(token), neighbours=self._neighbours(reference)
            )
            return sink, None
        upload = HubUpload(self._hub, parse_hub_name(text), model.manifest, token)
        await upload.ensure()
        return upload, "Created a private repository on Hugging Face" if upload.created else None

    def _neighbours(self, target: Reference) -> Neighbours:
        """Where in the registry of `target` a blob may be, by the names of the models here that have it."""
        models = self._store.snapshot.models

        def find(blob: Digest) -> Sequence[str]:
            having = (model for model in models if any(each.digest == blob for each in model.manifest.blobs))
            tags = (tag for model in having for tag in model.tags if tag.registry == target.registry)
            return list(dict.fromkeys(tag.repository for tag in tags if tag.repository != target.repository))

        return find

    async def _find(
        self, text: str, reference: Reference, token: str | None
    ) -> tuple[Source, Manifest, str | None]:
        """Where a model comes from, what it is made of, and what somebody may want to know about that."""
        if not is_hugging_face(text):
            source = self._registry.repository(reference, credential=_bearer(token))
            return source, await source.manifest(reference), None
        model = await self._hub.look(parse_hub_name(text), token)
        manifest = await model.manifest(reference)
        chosen = model.choice.selected
        return model, manifest, f"Selected {chosen} quantization" if chosen else None

    async def load(self, archive: AsyncIterator[bytes], size: int | None = None) -> tuple[NamedModel, ...]:
        """Take models from a tar stream, of `size` bytes if that is known, with the names they have there.

        Raises:
            RunnerError: what is wrong with the archive, or with the disk.
        """
        if size is not None:
            await self._store.ensure_space(size)

        async def check(manifest: Manifest) -> None:
            await _config(self._store, manifest)

        try:
            models = await load(archive, self._store, parse=self.name, check=check)
        except DigestMismatch as exc:  # who sent the archive made the mistake, not we
            raise InvalidRequest(exc.message, hint=exc.hint, detail=exc.detail) from exc
        for model in models:
            _log.info("model loaded from archive id=%s", model.manifest.digest.short)
        return models

    async def look_remotely(self, text: str) -> tuple[Manifest, ModelConfig, Peek | None]:
        """Read what a registry says of a model, and the headers of its weights, but not the weights.

        Weights whose headers cannot be read say nothing more than the configuration does.

        Raises:
            RunnerError: it is not there, is no model, or cannot be asked.
        """
        source, manifest, _ = await self._find(text, self.name(text), None)
        config = await _config(source, manifest)
        try:
            return manifest, config, await peek(source, manifest, config)
        except UnsupportedModel as exc:
            _log.info("headers not read model=%s reason=%s", text, exc)
            return manifest, config, None

    def _cached(self, model: StoredModel) -> ProgressLine:
        return success_line(f"Using cached model: {self._catalogue.config(model).size}".rstrip(": "), "pull")

    def _target(self, text: str, model: StoredModel) -> Reference:
        if as_id(text) is None:
            return self.name(text)
        if not model.tags:
            raise InvalidRequest(
                f"model has no name: `{text}`", hint=f"give it one: `dmr tag {model.id.short} NAME`"
            )
        return model.tags[0]


async def _config(source: Source, manifest: Manifest) -> ModelConfig:
    """Read what an artifact says of its model.

    Raises:
        UnsupportedModel: that cannot be read, or its files have names that cannot be.
    """
    check_config_type(manifest.config.media_type)
    raw = await read_blob(source, manifest.config, limit=MAX_CONFIG_BYTES)
    config = parse_config(raw, manifest.config.media_type)
    check_places(manifest, config)
    return config


def _bearer(token: str | None) -> Credential | None:
    """A token that came with the request, to be used instead of what is on file."""
    return Credential("", token) if token else None

"""A model that the daemon has, as a source: `package` reads of it what it needs, and nothing else travels."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

from modelrunner.client.api import Client
from modelrunner.errors import InvalidRequest, UnsupportedModel

if TYPE_CHECKING:  # whoever makes one of these has asked for something that takes the rest of the program
    from modelrunner.models.artifacts.packaging import Draft
    from modelrunner.models.description.config import ModelConfig
    from modelrunner.oci.manifest import Descriptor, Manifest
    from modelrunner.oci.reference import Reference


class DaemonModel:
    """A Source of one model. Its calls block, as all of the client's do."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._everything = client.blobs()

    async def manifest(self, reference: "Reference | None" = None) -> "Manifest":
        """Fetch the manifest; there is only one, whatever the reference.

        Raises:
            RunnerError: the daemon does not have the model.
        """
        from modelrunner.oci.layout import MANIFEST_FILE
        from modelrunner.oci.manifest import parse_manifest

        del reference
        with closing(self._archive(self._everything)) as pieces:
            async with aclosing(_entry(pieces, MANIFEST_FILE, 0)) as chunks:
                return parse_manifest(b"".join([chunk async for chunk in chunks]))

    async def config(self, manifest: "Manifest") -> bytes:
        """Fetch the configuration, verified."""
        from modelrunner.oci.manifest import MAX_CONFIG_BYTES
        from modelrunner.oci.transfer import read_blob

        return await read_blob(self, manifest.config, limit=MAX_CONFIG_BYTES)

    async def described(self, manifest: "Manifest", config: bytes) -> "ModelConfig | None":
        """What the headers of the weights say; None when they cannot be read."""
        from modelrunner.models.description.config import parse_config
        from modelrunner.models.remote.peek import peek

        with suppress(UnsupportedModel):
            found = await peek(self, manifest, parse_config(config, manifest.config.media_type))
            return found.found
        return None

    @asynccontextmanager
    async def open(
        self, blob: "Descriptor", start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes from `start`; what is before it is read and thrown away."""
        del stop  # whoever wants no more closes this
        from modelrunner.oci.layout import blob_name

        others = [digest for digest in self._everything if digest != str(blob.digest)]
        with closing(self._archive(others)) as pieces:
            async with aclosing(_entry(pieces, blob_name(blob.digest), start)) as chunks:
                yield start, chunks

    def _archive(self, left_out: list[str]) -> Generator[bytes, None, None]:
        return self._client.export({"models": [self._name], "except": left_out}, on_size=_ignore)


class Joined:
    """A draft whose layers are partly still where it was made from; a Source of all of them."""

    def __init__(self, draft: "Draft", rest: DaemonModel) -> None:
        self._draft = draft
        self._rest = rest

    async def manifest(self, reference: "Reference") -> "Manifest":
        """Give the draft's manifest."""
        return await self._draft.manifest(reference)

    @asynccontextmanager
    async def open(
        self, blob: "Descriptor", start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a blob's bytes where they are."""
        own = {self._draft.manifest_value.config.digest, *self._draft.paths}
        async with (self._draft if blob.digest in own else self._rest).open(blob, start, stop) as opened:
            yield opened


async def _entry(pieces: Generator[bytes, None, None], name: str, start: int) -> AsyncGenerator[bytes, None]:
    """The content of one file of an archive, from a byte on."""
    from modelrunner.oci.tar import Reader

    reader = Reader(_stream(pieces))
    while (entry := await reader.next_entry()) is not None:
        if entry.name == name:
            await reader.skip(min(start, entry.size))
            async for chunk in reader.entry_chunks():
                yield chunk
            return
    raise InvalidRequest(f"the daemon's archive has no `{name}`", hint="pull the model again")


async def _stream(pieces: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


def _ignore(_size: int) -> None:
    """Take note of no size."""

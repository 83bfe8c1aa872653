"""A variant of a stored model in the store: the same layers under a new configuration."""

from collections.abc import AsyncIterator

from modelrunner.models.artifacts.edit import Changes, edited
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.oci.transfer import Sink
from modelrunner.store.snapshot import StoredModel


def variant(model: StoredModel, context_size: int) -> tuple[Manifest, bytes]:
    """Make the manifest and the configuration of a model with another context size, in tokens.

    Raises:
        InvalidRequest: the size is out of range.
        UnsupportedModel: the kind of configuration has no place for a context size.
    """
    return edited(model.manifest, model.config_bytes, Changes(context_size=context_size))


async def store_variant(sink: Sink, manifest: Manifest, config: bytes, name: Reference) -> None:
    """Add a variant whose layers are there already.

    Raises:
        RunnerError: what the sink has against it.
    """
    async with sink.claim(manifest.config) as done:
        if done < manifest.config.size:
            await sink.write(manifest.config, done, _rest(manifest.config, config, done))
    await sink.commit(manifest, [name])


async def _rest(blob: Descriptor, data: bytes, start: int) -> AsyncIterator[bytes]:
    yield data[start : blob.size]

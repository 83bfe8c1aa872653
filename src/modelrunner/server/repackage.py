"""A variant of a stored model: the same layers under a new configuration, and nothing else changed.

The documents are edited as they are, so that what we do not know of them stays, and their types with them.
"""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from modelrunner.errors import UnsupportedModel
from modelrunner.models.config import check_context_size
from modelrunner.models.kinds import CONFIG_CNCF
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest, parse_manifest
from modelrunner.oci.reference import Reference
from modelrunner.oci.transfer import Sink
from modelrunner.store.snapshot import StoredModel


def variant(model: StoredModel, context_size: int) -> tuple[Manifest, bytes]:
    """Make the manifest and the configuration of a model with another context size, in tokens.

    Raises:
        InvalidRequest: the size is out of range.
        UnsupportedModel: the kind of configuration has no place for a context size.
    """
    check_context_size(context_size)
    kind = model.manifest.config.media_type
    if kind == CONFIG_CNCF:
        raise UnsupportedModel(f"a model with configuration `{kind}` cannot carry a context size")
    config: dict[str, Any] = msgspec.json.decode(model.config_bytes)
    config["config"] = {**(config.get("config") or {}), "context_size": context_size}
    config_bytes = msgspec.json.encode(config)
    manifest: dict[str, Any] = msgspec.json.decode(model.manifest.raw)
    manifest["config"] |= {"digest": str(Digest.of(config_bytes)), "size": len(config_bytes)}
    return parse_manifest(msgspec.json.encode(manifest), model.manifest.media_type), config_bytes


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

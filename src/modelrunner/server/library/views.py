"""Stored and running models in the shapes of the API."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from modelrunner.dialects.openai import model_item
from modelrunner.engines import llamacpp_memory
from modelrunner.models.description.config import METADATA_KEYS, ModelConfig
from modelrunner.models.description.kinds import Format
from modelrunner.models.memory.fit import fit
from modelrunner.models.remote.peek import Peek
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Manifest
from modelrunner.oci.reference import Reference
from modelrunner.runtime.views import ResidentView
from modelrunner.store.snapshot import StoredModel
from modelrunner.units import format_keep_alive
from modelrunner.wire.engines import RunningModel
from modelrunner.wire.models import ConfigView, Details, ModelFacts, ModelView, OpenAIModel

_PROGRAM = 2 << 30  # bytes; of an engine for other formats
_NEVER = "0001-01-01T00:00:00Z"  # how Go prints no time, which clients compare with


def model_view(model_id: Digest, tags: Iterable[Reference] | None, config: ModelConfig) -> ModelView:
    """Describe a model; `tags` is None for one that is not here."""
    view: ModelView = {"id": str(model_id), "created": _unix(config), "config": config_view(config)}
    names = [tag.familiar for tag in tags or ()]
    if names:
        view["tags"] = names
    return view


def brief_view(model_id: Digest, tags: Iterable[Reference] | None, config: ModelConfig) -> ModelView:
    """Describe a model for a table: of the header of its weights there is only the context length."""
    view = model_view(model_id, tags, config)
    known = view["config"] or ConfigView()
    for header in METADATA_KEYS.values():
        known.pop(header, None)  # type: ignore[misc]  # a literal in turn
    if "context_size" not in known:
        kept = {key: text for key, text in config.metadata.items() if key.endswith(".context_length")}
        if kept and config.format is Format.GGUF:
            known["gguf"] = kept
    return view


def remote_view(manifest: Manifest, found: Peek, memory: int) -> ModelView:
    """Describe a model that is elsewhere, and whether it fits into `memory`, in bytes."""
    needs = llamacpp_memory.needs(found.headers)
    needed_at = partial(_needed, found, needs)
    verdict = fit(needed_at, trained=found.config.context_size, available=memory)
    details: Details = {
        "size": found.size,
        "layers": len(manifest.layers),
        "tensors": found.tensors,
        "fits": verdict.fits,
        "memory_needed": verdict.needed,
        "memory_available": verdict.available,
    }
    if found.template is not None:
        details["chat_template"] = found.template
    if verdict.context is not None and (needs or found.per_token):
        details["fits_context"] = verdict.context
    return {**model_view(manifest.digest, None, found.config), "details": details}


def _needed(found: Peek, needs: Callable[[int], int] | None, context: int) -> int:
    """What the usual engine needs for a context, in bytes, given what it says of the weights alone."""
    if needs is None:
        return found.weights + context * found.per_token + _PROGRAM
    beside = found.weights - sum(header.file_bytes for header in found.headers)
    return needs(context) + max(0, beside)


def config_view(config: ModelConfig) -> ConfigView:
    """Describe what a model says of itself, without what is unknown."""
    view: ConfigView = {}
    if config.format is not None:
        view["format"] = config.format.value
    if config.quantization:
        view["quantization"] = config.quantization
    if config.parameters:
        view["parameters"] = config.parameters
    if config.architecture:
        view["architecture"] = config.architecture
    if config.size:
        view["size"] = config.size
    if config.context_size is not None:
        view["context_size"] = config.context_size
    metadata = dict(sorted(config.metadata.items()))
    if metadata and config.format is not None:
        view[METADATA_KEYS[config.format]] = metadata  # type: ignore[literal-required] # one of its keys
    return view


def openai_view(model: StoredModel, config: ModelConfig) -> OpenAIModel:
    """Describe a model as OpenAI does."""
    facts: ModelFacts = {}
    if config.context_size is not None:
        facts["context_window"] = config.context_size
    if config.architecture:
        facts["architecture"] = config.architecture
    if config.parameters:
        facts["parameters"] = config.parameters
    if config.quantization:
        facts["quantization"] = config.quantization
    if config.size:
        facts["size"] = config.size
    return model_item(model_id=model.name, created=_unix(config), facts=facts)


def running_view(
    resident: ResidentView, name: str, *, context: int | None, pinned: bool, waiting: int
) -> RunningModel:
    """Describe an instance; `name` is what its model is called here, `context` is in tokens.

    `waiting` is how many requests wait for it.
    """
    used = resident.last_used
    moment = datetime.fromtimestamp(used, UTC).isoformat() if used is not None else None
    view: RunningModel = {
        "backend_name": resident.key.engine,
        "model_name": name,
        "mode": resident.key.mode.value,
        "last_used": moment.replace("+00:00", "Z") if moment else _NEVER,
    }
    if resident.loading:
        view["loading"] = True
    elif resident.sleeping:
        view["asleep"] = True
    elif resident.leases:
        view["in_use"] = True
    view["keep_alive"] = format_keep_alive(resident.keep_alive)
    if pinned:
        view["pinned"] = True
    if context is not None:
        view["context_size"] = context
    if memory := sum(resident.memory.values()):
        view["memory"] = memory
    view["requests"] = resident.leases
    view["waiting"] = waiting
    return view


def _unix(config: ModelConfig) -> int:
    return int(config.created.timestamp()) if config.created else 0

"""Stored and running models, and transfers, in the shapes of Ollama's API.

Source: Ollama, api/types.go, v0.12.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from modelrunner.dialects.ollama_defaults import Defaults, as_parameters
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.weights import ggml
from modelrunner.models.weights.gguf import GGUFHeader, LongArray, Value
from modelrunner.runtime.scheduling.ledger import Amounts
from modelrunner.runtime.views import ResidentView
from modelrunner.server.library.abilities import Facts
from modelrunner.store.snapshot import StoredModel
from modelrunner.wire.transfers import ProgressLine

_JSON = dict[str, Any]
_NEVER = timedelta(days=365 * 292)  # Ollama's for ever: as long as Go's durations are
_SHORT_ARRAY = 5  # items of the header that are shown without `verbose`
_MAIN_MEMORY = "ram"
_EPOCH = datetime.fromtimestamp(0, UTC)


def tag_views(models: Sequence[tuple[StoredModel, ModelConfig]]) -> list[_JSON]:
    """`GET /api/tags`: an entry for each name, or one with the id."""
    return [
        {"name": name, "model": name, **_facts(model, config), "modified_at": _time(config.created or _EPOCH)}
        for model, config in models
        for name in ([tag.familiar for tag in model.tags] or [str(model.id)])
    ]


def running_view(
    resident: ResidentView,
    model: StoredModel | None,
    config: ModelConfig,
    *,
    now: datetime,
    context: int | None,
) -> _JSON:
    """`GET /api/ps`: a row; `model` is None when it is gone from the store, `context` is in tokens."""
    name = str(resident.key.model) if model is None else model.name
    facts = (
        {"size": 0, "digest": resident.key.model.hex, "details": {}}
        if model is None
        else _facts(model, config)
    )
    used = now if resident.last_used is None else datetime.fromtimestamp(resident.last_used, UTC)
    stays = _NEVER if resident.keep_alive is None else timedelta(seconds=resident.keep_alive)
    needs = sum(resident.memory.values())
    row = {
        "name": name,
        "model": name,
        **facts,
        "size": needs or facts["size"],
        "size_vram": _on_devices(resident.memory),
        "expires_at": _time(used + min(stays, _NEVER)),
    }
    return row if context is None else {**row, "context_length": context}


def show_view(
    model: StoredModel,
    config: ModelConfig,
    facts: Facts,
    defaults: Defaults,
    *,
    license_text: str,
    verbose: bool,
) -> _JSON:
    """`POST /api/show`: everything that is known of a model."""
    template = facts.template or ""
    view: _JSON = {
        "license": license_text,
        "modelfile": modelfile(model.name, template, defaults, license_text),
        "parameters": as_parameters(defaults.parameters),
        "template": template,
        "system": defaults.system,
        "details": details(config),
        "messages": defaults.messages,
        "model_info": _header(facts.metadata or {}, facts.headers, verbose=verbose),
        "capabilities": list(facts.abilities),
        "modified_at": _time(config.created or _EPOCH),
    }
    if facts.projector is not None:
        view["projector_info"] = _header(facts.projector, (), verbose=verbose)
    if verbose:
        view["tensors"] = [
            {"name": tensor.name, "type": _type(tensor.type), "shape": list(tensor.dims)}
            for header in facts.headers
            for tensor in header.tensors
        ]
    return {name: value for name, value in view.items() if value not in ("", [])}


def details(config: ModelConfig) -> _JSON:
    """What a model is, in short."""
    family = config.metadata.get("general.architecture") or config.architecture
    return {
        "parent_model": "",
        "format": config.format.value if config.format else "",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": config.parameters.replace(" ", ""),
        "quantization_level": config.quantization.removeprefix("MOSTLY_"),
    }


def modelfile(name: str, template: str, defaults: Defaults, license_text: str) -> str:
    """Write what would make the model again."""
    lines = ["# Modelfile, made by `show`", f"FROM {name}"]
    lines += [f'TEMPLATE """{template}"""'] if template else []
    lines += [f'SYSTEM """{defaults.system}"""'] if defaults.system else []
    lines += [f"PARAMETER {line}" for line in as_parameters(defaults.parameters).splitlines()]
    lines += [f"MESSAGE {message.role} {message.content or ''}" for message in defaults.messages]
    lines += [f'LICENSE """{license_text}"""'] if license_text else []
    return "\n".join(lines) + "\n"


def pull_line(line: ProgressLine) -> _JSON:
    """A line of a pull or a push; zero numbers are left out, as Go does."""
    layer = line["layer"]
    match line["type"]:
        case "success":
            return {"status": "success"}
        case "warning":
            return {"status": line["message"]}
        case "error":
            return {"error": line["message"].removeprefix("Error: ")}
    verb = "pushing" if line["mode"] == "push" else "pulling"
    digest = layer.get("id", "")
    if not digest:
        return {"status": line["message"] or f"{verb} manifest"}
    row: _JSON = {"status": f"{verb} {digest.removeprefix('sha256:')[:12]}", "digest": digest}
    counts = {"total": layer["size"], "completed": layer["current"]}
    return row | {name: count for name, count in counts.items() if count}


def _facts(model: StoredModel, config: ModelConfig) -> _JSON:
    size = sum(blob.size for blob in model.manifest.blobs)
    return {"size": size, "digest": model.id.hex, "details": details(config)}


def _header(metadata: Mapping[str, Value], headers: Sequence[GGUFHeader], *, verbose: bool) -> _JSON:
    """The header's values; long arrays, of which only the length is known, are null, as Ollama has them."""
    count = sum(tensor.elements for header in headers for tensor in header.tensors)
    counted = {"general.parameter_count": count} if count else {}
    return {key: _shown(value, verbose=verbose) for key, value in sorted(metadata.items())} | counted


def _shown(value: Value, *, verbose: bool) -> object:
    if isinstance(value, LongArray):
        return None
    if isinstance(value, tuple):
        return list(value) if verbose or len(value) <= _SHORT_ARRAY else None
    return value


def _type(number: int) -> str:
    known = ggml.TENSOR_TYPES.get(number)
    return known.name if known else str(number)


def _on_devices(memory: Amounts) -> int:
    return sum(amount for name, amount in memory.items() if name != _MAIN_MEMORY)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"

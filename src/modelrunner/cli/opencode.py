"""OpenCode's own files: our models are put in while it runs, and taken out when it has ended."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli.json_file import Document
from modelrunner.cli.lending import Loan

_PROVIDER = "dmr"
_SCHEMA = "https://opencode.ai/config.json"
_PACKAGE = "@ai-sdk/openai-compatible"
_TITLE = "Docker Model Runner (local)"
_MARK = "_launch"  # of models that we have put in
_MOST_RECENT = 10
_HINT = (
    "comments have their place in `opencode.jsonc`, which OpenCode reads too; or launch it without --model"
)
_STATE_HINT = "mend the file, or remove it: OpenCode makes a new one"


class Files(NamedTuple):
    """Where OpenCode keeps them, below a home folder."""

    config: Path
    state: Path


def files(home: Path) -> Files:
    """Name the two files."""
    return Files(
        home / ".config" / "opencode" / "opencode.json", home / ".local" / "state" / "opencode" / "model.json"
    )


def loans(where: Files, address: str, model: str) -> tuple[Loan, Loan]:
    """What is lent to OpenCode: a model of the daemon's at `address`."""
    return (
        Loan(where.config, partial(with_model, address=address, model=model), without_model, swept, _HINT),
        Loan(where.state, partial(with_recent, model=model), without_recent, dict, _STATE_HINT),
    )


def with_model(document: Document, *, address: str, model: str) -> Document:
    """The configuration with our provider and a model of it; everything else stays."""
    providers = _table(document.get("provider"))
    ours = _table(providers.get(_PROVIDER))
    provider = {
        **ours,
        "npm": _PACKAGE,
        "name": _TITLE,
        "options": {**_table(ours.get("options")), "baseURL": address},
        "models": {model: {"name": model, _MARK: True}, **_table(ours.get("models"))},
    }
    return {"$schema": _SCHEMA, **document, "provider": {**providers, _PROVIDER: provider}}


def without_model(document: Document, before: Document) -> Document:
    """The configuration with our provider as it was before, whatever else has changed meanwhile."""
    providers = _table(document.get("provider"))
    ours = _table(providers.get(_PROVIDER))
    was = _table(_table(before.get("provider")).get(_PROVIDER))
    models = _unmarked(ours)
    if not ours or ours == was:
        return document
    if was or models:
        left = was or ours
        kept = {"models": models} if models or "models" in left else {}
        return {**document, "provider": {**providers, _PROVIDER: {**left, **kept}}}
    return {**document, "provider": {name: each for name, each in providers.items() if name != _PROVIDER}}


def swept(document: Document) -> Document:
    """The configuration without marked models, and without the provider if it was made for them."""
    ours = _table(_table(document.get("provider")).get(_PROVIDER))
    models = _unmarked(ours)
    if len(models) == len(_table(ours.get("models"))):
        return document
    is_made_for_them = not models and (ours.get("npm"), ours.get("name")) == (_PACKAGE, _TITLE)
    was = {} if is_made_for_them else {_PROVIDER: {**ours, "models": models}}
    return without_model(document, {"provider": was})


def _unmarked(provider: Mapping[str, object]) -> Document:
    models = _table(provider.get("models"))
    return {name: model for name, model in models.items() if not _table(model).get(_MARK)}


def with_recent(document: Document, *, model: str) -> Document:
    """The state with a model as the one that was used last; without it twice, and not too long."""
    ours = {"providerID": _PROVIDER, "modelID": model}
    recent = document.get("recent")
    others = [each for each in recent if each != ours] if isinstance(recent, list) else []
    return {"favorite": [], "variant": {}, **document, "recent": [ours, *others][:_MOST_RECENT]}


def without_recent(document: Document, before: Document) -> Document:
    """The state without models of ours, but for those that it had before."""
    recent, was = document.get("recent"), before.get("recent")
    if not isinstance(recent, list):
        return document
    kept = was if isinstance(was, list) else []
    left = [each for each in recent if each in kept or _table(each).get("providerID") != _PROVIDER]
    return {**document, "recent": left}


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}

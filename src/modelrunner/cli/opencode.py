"""OpenCode's own files: our models are put in while it runs, and taken out when it has ended."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from modelrunner.errors import StoreError

_PROVIDER = "dmr"
_SCHEMA = "https://opencode.ai/config.json"
_PACKAGE = "@ai-sdk/openai-compatible"
_TITLE = "Docker Model Runner (local)"
_MARK = "_launch"  # of models that we have put in
_MOST_RECENT = 10

Document = dict[str, object]
Undo = Callable[[Mapping[str, object], Mapping[str, object]], Document]


class Files(NamedTuple):
    """Where OpenCode keeps them, below a home folder."""

    config: Path
    state: Path


def files(home: Path) -> Files:
    """Name the two files."""
    return Files(
        home / ".config" / "opencode" / "opencode.json", home / ".local" / "state" / "opencode" / "model.json"
    )


def with_model(document: Mapping[str, object], address: str, model: str) -> Document:
    """The configuration with our provider and a model of it; everything else stays."""
    providers = _table(document.get("provider"))
    ours = _table(providers.get(_PROVIDER))
    provider = {
        **ours,
        "npm": _PACKAGE,
        "name": _TITLE,
        "options": {**_table(ours.get("options")), "baseURL": address},
        "models": {**_table(ours.get("models")), model: {"name": model, _MARK: True}},
    }
    return {"$schema": _SCHEMA, **document, "provider": {**providers, _PROVIDER: provider}}


def without_model(document: Mapping[str, object], before: Mapping[str, object]) -> Document:
    """The configuration with our provider as it was before, whatever else has changed meanwhile."""
    providers = {**_table(document.get("provider"))}
    providers.pop(_PROVIDER, None)
    was = _table(before.get("provider"))
    if _PROVIDER in was:
        providers[_PROVIDER] = was[_PROVIDER]
    return {**document, "provider": providers}


def with_recent(document: Mapping[str, object], model: str) -> Document:
    """The state with a model as the one that was used last; without it twice, and not too long."""
    ours = {"providerID": _PROVIDER, "modelID": model}
    recent = document.get("recent")
    others = [each for each in recent if each != ours] if isinstance(recent, list) else []
    return {"favorite": [], "variant": {}, **document, "recent": [ours, *others][:_MOST_RECENT]}


def without_recent(document: Mapping[str, object], before: Mapping[str, object]) -> Document:
    """The state without models of ours, but for those that it had before."""
    recent, was = document.get("recent"), before.get("recent")
    kept = was if isinstance(was, list) else []
    left = [
        each
        for each in (recent if isinstance(recent, list) else [])
        if each in kept or _table(each).get("providerID") != _PROVIDER
    ]
    return {**document, "recent": left}


@contextmanager
def lent(where: Files, address: str, model: str) -> Iterator[None]:
    """Have a model in OpenCode's files for as long as the block lasts; then they are as they were.

    A file that OpenCode has written meanwhile keeps that, and loses only what is ours; but one that we could
    not read, as one with comments, is put back whole.

    Raises:
        StoreError: a file cannot be written.
    """
    config, state = _read(where.config), _read(where.state)
    with (
        _changed(where.config, with_model(config, address, model), without_model, config),
        _changed(where.state, with_recent(state, model), without_recent, state),
    ):
        yield


@contextmanager
def _changed(path: Path, document: Document, undo: Undo, before: Document) -> Iterator[None]:
    original = path.read_bytes() if path.is_file() else None
    written = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written)
    except OSError as exc:
        raise StoreError(f"`{path}` cannot be written: {exc.strerror or exc}") from exc
    try:
        yield
    finally:
        with suppress(OSError):  # the app has ended; nothing that fails here is worth its result
            _restore(path, written, original, undo, before)


def _restore(path: Path, written: bytes, original: bytes | None, undo: Undo, before: Document) -> None:
    now = path.read_bytes() if path.is_file() else None
    unread = original is not None and original.strip() not in {b"", b"{}"} and not before
    if original is not None and (
        now == written or unread
    ):  # of what we could not read, nothing was taken over
        path.write_bytes(original)
    elif now == written:
        path.unlink()
    elif now is not None:
        left = undo(_read(path), before)
        path.write_text(json.dumps(left, indent=2, ensure_ascii=False) + "\n")


def _read(path: Path) -> Document:
    """Read a file; one that is missing, or that OpenCode could not read either, is empty."""
    try:
        return _table(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError):
        return {}


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}

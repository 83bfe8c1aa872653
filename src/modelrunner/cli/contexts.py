"""Named runners: the store that `context` edits and every command reads, shared with Docker's own client."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli import json_file
from modelrunner.cli.json_file import Document
from modelrunner.errors import Conflict, ContextNotFound, InvalidRequest

DEFAULT = "default"  # not a context, but the absence of one
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_VERSION = 1


class Context(NamedTuple):
    """A runner with a name."""

    host: str
    tls: bool = False
    skip_verify: bool = False
    ca_cert: str = ""
    description: str = ""
    created: str = "0001-01-01T00:00:00Z"

    def document(self) -> Document:
        """Write it as the store has it; what is empty is left out, but `tls` is not.

        Source: docker/model-runner `cmd/cli/pkg/modelctx`.
        """
        tls: Document = {"enabled": self.tls}
        if self.skip_verify:
            tls["skipVerify"] = True
        if self.ca_cert:
            tls["caCert"] = self.ca_cert
        document: Document = {"host": self.host, "tls": tls}
        if self.description:
            document["description"] = self.description
        return document | {"createdAt": self.created}


class Contexts(NamedTuple):
    """All of them; `current` is None when the runner is to be found without one."""

    current: str | None
    named: Mapping[str, Context]

    def active(self) -> tuple[str, Context] | None:
        """The one in use.

        Raises:
            ContextNotFound: it is not there any more.
        """
        if self.current is None:
            return None
        return self.current, self.get(self.current)

    def get(self, name: str) -> Context:
        """Look one up.

        Raises:
            ContextNotFound: there is none of that name.
        """
        if name not in self.named:
            raise unknown(name)
        return self.named[name]


def path_in(folder: Path) -> Path:
    """Name the store's file in docker's configuration folder."""
    return folder / "model" / "contexts.json"


def read(path: Path) -> Contexts:
    """Read the store.

    Raises:
        StoreError: it cannot be read, or was written by a newer program.
    """
    return _parse(json_file.read(path), path)


def create(path: Path, name: str, context: Context) -> None:
    """Add one.

    Raises:
        Conflict: there is one of that name.
        InvalidRequest: no context can have that name.
    """
    check_name(name)
    with json_file.changing(path) as document:
        if name in _parse(document, path).named:
            raise Conflict(f'context "{name}" already exists', hint="remove it first: `context rm`")
        document.setdefault("version", _VERSION)
        contexts = document.setdefault("contexts", {})
        assert isinstance(contexts, dict)
        contexts[name] = context.document()


def use(path: Path, name: str) -> None:
    """Make one the active one; `default` makes none.

    Raises:
        ContextNotFound: there is none of that name.
    """
    with json_file.changing(path) as document:
        parsed = _parse(document, path)
        document.setdefault("version", _VERSION)
        document.setdefault("contexts", {})
        document.pop("current", None)
        if name != DEFAULT:
            parsed.get(name)
            document["current"] = name


def remove(path: Path, name: str) -> None:
    """Remove one that is not in use.

    Raises:
        InvalidRequest: it is `default`.
        ContextNotFound: there is none of that name.
        Conflict: it is active.
    """
    if name == DEFAULT:
        raise reserved()
    with json_file.changing(path) as document:
        parsed = _parse(document, path)
        parsed.get(name)
        if parsed.current == name:
            raise Conflict(f'context "{name}" is currently active; switch to another context first')
        contexts = document["contexts"]
        assert isinstance(contexts, dict)
        del contexts[name]


def check_name(name: str) -> None:
    """Refuse what no context may be called.

    Raises:
        InvalidRequest: it is `default`, or has characters that would need quoting.
    """
    if name == DEFAULT:
        raise reserved()
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f'invalid context name "{name}": must match ^{_NAME.pattern}$')


def reserved() -> InvalidRequest:
    """Make the error for a change of what is always there."""
    return InvalidRequest(f'context name "{DEFAULT}" is reserved')


def unknown(name: str) -> ContextNotFound:
    """Make the error for a name that nobody gave."""
    return ContextNotFound(f'context "{name}" not found', hint="`context ls` lists those that there are")


def _parse(document: Document, path: Path) -> Contexts:
    version, current = document.get("version", _VERSION), document.get("current")
    if version != _VERSION:
        raise json_file.broken(path, f"it has version {version}, which is not known here")
    named = document.get("contexts", {})
    if not isinstance(named, dict) or not isinstance(current, str | None):
        raise json_file.broken(path, "it is no store of contexts")
    return Contexts(current or None, {name: _context(name, entry, path) for name, entry in named.items()})


def _context(name: str, entry: object, path: Path) -> Context:
    fields = entry if isinstance(entry, dict) else {}
    tls = fields.get("tls", {})
    if not isinstance(fields.get("host"), str) or not isinstance(tls, dict):
        raise json_file.broken(path, f"the context `{name}` has no host")
    return Context(
        host=fields["host"],
        tls=bool(tls.get("enabled")),
        skip_verify=bool(tls.get("skipVerify")),
        ca_cert=str(tls.get("caCert", "")),
        description=str(fields.get("description", "")),
        created=str(fields.get("createdAt", Context("").created)),
    )

"""Conversations in files: where they are, how they are written, and what may be read."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli.chat.conversation import Conversation, Turn, words_of
from modelrunner.client.answers import valid
from modelrunner.errors import InvalidRequest

_VERSION = 1
_SUFFIX = ".json"
_MOST = 256 * 1024 * 1024  # bytes; images are in it


class Saved(NamedTuple):
    """A conversation as it is kept."""

    model: str
    system: str
    parameters: dict[str, object]
    turns: Sequence[Turn]


def place(name: str, folder: Path) -> Path:
    """Where a conversation of this name is: a plain word names one in `folder`, anything else is a path."""
    path = Path(name).expanduser()
    if path.name == name and not path.suffix:
        return folder / f"{name}{_SUFFIX}"
    return path


def names(folder: Path) -> list[str]:
    """The conversations in `folder`, by name."""
    return sorted(path.stem for path in folder.glob(f"*{_SUFFIX}"))


def save(path: Path, saved: Saved) -> None:
    """Write a conversation, readable by its owner only; as text when the path ends in `.md`.

    Raises:
        InvalidRequest: it cannot be written.
    """
    text = _markdown(saved) if path.suffix == ".md" else _document(saved)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".chat-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise InvalidRequest(f"cannot write `{path}`: {(exc.strerror or str(exc)).lower()}") from exc


def load(path: Path) -> Saved:
    """Read a conversation.

    Raises:
        InvalidRequest: there is none, or it is not one that was saved here.
    """
    try:
        if path.stat().st_size > _MOST:
            raise InvalidRequest(f"too large for a conversation: `{path}`")
        return _read(json.loads(path.read_text(encoding="utf-8")))
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{path}`: {(exc.strerror or str(exc)).lower()}") from exc
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError) as exc:
        raise InvalidRequest(f"no conversation that was saved here: `{path}`") from exc


def restore(saved: Saved, conversation: Conversation) -> None:
    """Go on with what was saved."""
    conversation.clear()
    conversation.system = saved.system
    for turn in saved.turns:
        conversation.add(*turn)


def _document(saved: Saved) -> str:
    turns = [{"prompt": turn.prompt, "answer": turn.answer, "typed": turn.typed} for turn in saved.turns]
    document = {
        "version": _VERSION,
        "model": saved.model,
        "system": saved.system,
        "parameters": saved.parameters,
        "turns": turns,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _markdown(saved: Saved) -> str:
    parts = [f"# {saved.model}\n"]
    if saved.system:
        parts.append(f"*{saved.system}*\n")
    for turn in saved.turns:
        quoted = "\n".join(f"> {line}" for line in words_of(turn.prompt).splitlines())
        parts += [f"{quoted}\n", f"{turn.answer.strip()}\n"]
    return "\n".join(parts)


def _read(document: Mapping[str, object]) -> Saved:
    if document["version"] != _VERSION:
        raise ValueError(document["version"])
    turns = document["turns"]
    parameters = document["parameters"]
    if not isinstance(turns, list) or not isinstance(parameters, dict):
        raise TypeError(turns)
    return Saved(
        _text(document["model"]),
        _text(document["system"]),
        parameters,
        [Turn(_content(turn["prompt"]), _text(turn["answer"]), _text(turn["typed"])) for turn in turns],
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return valid(value)


def _content(value: object) -> str | list[dict[str, object]]:
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return value
    return _text(value)

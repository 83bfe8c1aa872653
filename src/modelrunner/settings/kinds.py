"""The kinds of values that settings have: how each is read, and how it is written as a user would."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from modelrunner.errors import InvalidRequest
from modelrunner.units import format_bytes, format_duration, parse_bytes, parse_duration, parse_keep_alive

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class Kind(NamedTuple):
    """How a value is read, and the words for what was expected when it cannot be."""

    parse: Callable[[str], object]
    expected: str


def parse_boolean(text: str) -> bool:
    """Read a boolean as the reference does: `1`, `t`, `T`, `true`, `True`, `TRUE`, and so on.

    Raises:
        InvalidRequest: any other text.
    """
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise InvalidRequest(f"invalid boolean: `{text}`", hint="write `true` or `false`")


def number(low: int, high: int) -> Kind:
    """Make the kind of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number

    return Kind(_maybe(parse), f"a number from {low} to {high}")


def shown(kind: Kind, value: object) -> str:
    """Write a value as a user would; empty when it is not set."""
    if value is None:
        return "-1" if kind is KEEP_ALIVE else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return format_duration(value)
    if isinstance(value, int) and kind in {SIZE, MAYBE_SIZE}:
        return format_bytes(value)
    return str(value)


def _maybe(parse: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: parse(text) if text else None


def _path(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()


def _entries(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError(text)
    return seconds


def _level(text: str) -> str:
    level = {"warn": "warning"}.get(text.lower(), text.lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError(text)
    return level


def _sandbox(text: str) -> str:
    setting = text.lower()
    if setting not in {"auto", "off", "require"}:
        raise ValueError(text)
    return setting


def _registry(text: str) -> str:
    return "docker.io" if text in {"index.docker.io", "registry-1.docker.io"} else text


def _host_url(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    if not urlsplit(url).netloc and not url.startswith("unix://"):
        raise ValueError(text)
    return url.rstrip("/")


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError(text)
    return text


ADDRESS = Kind(str, "an address")
ANYTHING = Kind(bool, "anything")
ARGUMENTS = Kind(lambda text: tuple(shlex.split(text)), "arguments of llama-server, quoted as in a shell")
DURATION = Kind(_seconds, "a duration such as `30s` or `5m`")
MAYBE_DURATION = Kind(_maybe(_seconds), DURATION.expected)
KEEP_ALIVE = Kind(parse_keep_alive, f"{DURATION.expected}, or `-1` for ever")
URL = Kind(_maybe(_host_url), "a URL such as `http://localhost:12434`")
ENDPOINT = Kind(_host_url, URL.expected)
WEB_ADDRESS = Kind(_web_url, "an http address such as `http://localhost:8888`")
FOLDERS = Kind(str, "a list of folders")
LEVEL = Kind(_level, "`debug`, `info`, `warn` or `error`")
LIST = Kind(_entries, "a comma-separated list")
PATH = Kind(_maybe(_path), "a path")
REGISTRY = Kind(_registry, "a host")
SANDBOX = Kind(_sandbox, "`auto`, `off` or `require`")
SIZE = Kind(parse_bytes, "a size such as `20MB` or `64MiB`")
MAYBE_SIZE = Kind(_maybe(parse_bytes), SIZE.expected)
SWITCH = Kind(parse_boolean, "`true` or `false`")
MAYBE_SWITCH = Kind(_maybe(parse_boolean), SWITCH.expected)
TEXT = Kind(_maybe(str), "a text")

"""Reads every setting: flag before environment before default."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.settings.table import DEFAULT_PORT, MOST_PLACES, TABLE, Setting, Settings, flag_of

_CLOUD_GPU_KEEP_ALIVE = 8 * 3600.0  # seconds


def load(
    flags: Mapping[str, str | None], environ: Mapping[str, str], *, platform: str = sys.platform
) -> Settings:
    """Read every setting: `flags` (by name; None is not given) before `environ` before the default.

    Raises:
        InvalidRequest: a value cannot be read, or both a port and a socket are asked for; the message names
            the flag or variable, its value and what was expected.
    """
    values = {
        name: _parse(setting, _given(name, setting, flags, environ), _source(name, setting, flags))
        for name, setting in TABLE.items()
    }
    values |= _listener(values, flags)
    for name, setting in TABLE.items():
        if setting.folder is not None and not values[name]:
            values[name] = Path(setting.folder(platform, environ))
    values["places"] = values["places"] or min(os.cpu_count() or 1, MOST_PLACES)
    keep_alive = _given("keep_alive", TABLE["keep_alive"], flags, environ)
    if keep_alive is None and _is_cloud_gpu(environ):
        values["keep_alive"] = _CLOUD_GPU_KEEP_ALIVE
    return Settings(**values)


def _given(
    name: str, setting: Setting, flags: Mapping[str, str | None], environ: Mapping[str, str]
) -> str | None:
    if (flag := flags.get(name)) is not None:
        return flag
    return _unquoted(environ.get(setting.environment, "").strip()) or None


def _source(name: str, setting: Setting, flags: Mapping[str, str | None]) -> str:
    return flag_of(name) if flags.get(name) is not None else setting.environment


def _unquoted(text: str) -> str:
    """Take one pair of quotes off that encloses everything, as files of variables have them."""
    inner = text[1:-1]
    return (
        inner
        if text[:1] in {'"', "'"} and text == f"{text[0]}{inner}{text[0]}" and text[0] not in inner
        else text
    )


def _parse(setting: Setting, given: str | None, source: str) -> Any:
    text = setting.default if given is None else given
    try:
        return setting.kind.parse(text)
    except (ValueError, RunnerError) as exc:
        raise InvalidRequest(
            f"invalid value for {source}: `{text}`",
            hint=f"expected {setting.kind.expected}",
        ) from exc


def _listener(values: Mapping[str, object], flags: Mapping[str, str | None]) -> dict[str, object]:
    """Decide between port and socket: a flag of either wins over a variable of the other, then the port."""
    by_port, by_socket = flags.get("port") is not None, flags.get("socket") is not None
    if by_port and by_socket:
        raise InvalidRequest("both --port and --socket are given", hint="give one of them")
    if by_socket or (values["port"] is None and values["socket"] is not None):
        return {"port": None}
    return {"port": DEFAULT_PORT if values["port"] is None else values["port"], "socket": None}


def _is_cloud_gpu(environ: Mapping[str, str]) -> bool:
    """Whether this is the reference's cloud environment with a GPU, where models stay loaded for long."""
    return environ.get("MODEL_RUNNER_ENVIRONMENT") == "cloud" and bool(environ.get("NVIDIA_VISIBLE_DEVICES"))

"""The daemon itself: its version, settings, health and log."""

from typing import Literal, NotRequired, TypedDict


class SettingView(TypedDict):
    """One row of `GET /settings`: a value in force, as one would write it, and the variable that sets it."""

    name: str
    variable: str
    value: str
    default: str
    help: str


class HealthReply(TypedDict):
    """`GET /health`; when requests wait and nothing goes on, for how long (in seconds), for what, and why."""

    status: Literal["ok", "stalled"]
    seconds: NotRequired[float]
    waiting: NotRequired[int]
    model: NotRequired[str]
    reason: NotRequired[str]
    text: NotRequired[str]


class Version(TypedDict):
    """`GET /version`; `pid` is the daemon's process number."""

    version: str
    pid: NotRequired[int]


class LogLine(TypedDict):
    """One line of the log, as server-sent data of `GET /logs`; `model` and `backend` are an engine's."""

    at: str
    source: Literal["service", "engine"]
    level: Literal["debug", "info", "warning", "error"]
    model: NotRequired[str]
    backend: NotRequired[str]
    logger: NotRequired[str]
    text: str

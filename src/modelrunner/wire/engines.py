"""Engines: what they run, what they take on disk, and how they come and go."""

from typing import NotRequired, TypedDict


class RunningModel(TypedDict):
    """One row of `GET /engines/ps`.

    `context_size` is in tokens, `memory` what was set aside for it, in bytes. `requests` are in flight, and
    `waiting` ones wait for it.
    """

    backend_name: str
    model_name: str
    mode: str
    last_used: str
    in_use: NotRequired[bool]
    loading: NotRequired[bool]
    asleep: NotRequired[bool]
    keep_alive: NotRequired[str]
    pinned: NotRequired[bool]
    context_size: NotRequired[int]
    memory: NotRequired[int]
    requests: NotRequired[int]
    waiting: NotRequired[int]


class DiskUsage(TypedDict):
    """`GET /engines/df`, in bytes."""

    models_disk_usage: int
    default_backend_disk_usage: int


class UnloadRequest(TypedDict):
    """What to unload: everything, or some models, of one engine or of any."""

    all: NotRequired[bool]
    backend: NotRequired[str]
    models: NotRequired[list[str] | None]


class UnloadReply(TypedDict):
    """How many instances went, and how many stay because somebody uses them or waits for them."""

    unloaded_runners: int
    in_use: NotRequired[int]


class InstallRequest(TypedDict, total=False):
    """`POST /engines/install-backend` and `uninstall-backend`; without `version` it is what fits best."""

    backend: str
    version: str

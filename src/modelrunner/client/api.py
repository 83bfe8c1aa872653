"""The API as methods: one for each route that the command line needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import quote

from modelrunner import errors
from modelrunner.client.answers import Message, Piece, ask, read_answer
from modelrunner.client.observing import Observer
from modelrunner.client.shape import INTEGER, TEXT, Shape, fits
from modelrunner.client.streams import (
    PIECE,
    read_events,
    read_exactly,
    read_progress,
)
from modelrunner.client.transport import ACCEPT, Address, Transport
from modelrunner.errors import RunnerError
from modelrunner.wire.headers import PRELOAD_HEADER

if TYPE_CHECKING:  # importing it takes 3 ms, which `list` does not have
    from modelrunner.client.inspector import Inspector
    from modelrunner.wire.configuration import (
        ConfigurationView,
        ConfiguredReply,
        ConfigureRequest,
        ResetReply,
    )
    from modelrunner.wire.engines import DiskUsage, InstallRequest, RunningModel, UnloadReply, UnloadRequest
    from modelrunner.wire.insight import EventView, Explanation, RefusalView
    from modelrunner.wire.models import (
        ModelView,
        OpenAIModel,
        OpenAIModelList,
        PruneReply,
        PruneRequest,
        Removal,
        RepackageRequest,
        VerifyRequest,
    )
    from modelrunner.wire.transfers import (
        ExportRequest,
        ImportRequest,
        ProgressLine,
        PullRequest,
        PushRequest,
        TakeRequest,
    )

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0)  # seconds, before each further try of a pull or push
CHAT = "/engines/v1/chat/completions"
_TAR = "application/x-tar"

# Closing one closes its connection.
Transfer: TypeAlias = "Generator[ProgressLine, None, None]"

_ROUTES = frozenset({"create", "export", "load", "purge", "push", "repackage", "tag"})

_CONFIGURED = {"refusal": {"reason": TEXT, "message": TEXT, "hint": (None, TEXT)}}
_DESCRIBED = {
    "tags?": (None, [TEXT]),
    "created?": INTEGER,
    "config?": (
        None,
        {
            "parameters?": TEXT,
            "quantization?": TEXT,
            "architecture?": TEXT,
            "size?": TEXT,
            "context_size?": (None, INTEGER),
            "gguf?": (None, {"*": TEXT}),
        },
    ),
    "details?": {"size": INTEGER, "fits": INTEGER, "memory_needed": INTEGER, "memory_available": INTEGER},
}
_MODEL = {"id": TEXT, **_DESCRIBED}
_RUNNING = [
    {
        "model_name": TEXT,
        "backend_name": TEXT,
        "mode": TEXT,
        "last_used?": TEXT,
        "keep_alive?": TEXT,
        "context_size?": INTEGER,
        "memory?": INTEGER,
        "requests?": INTEGER,
        "waiting?": INTEGER,
    }
]
_EVENT = {"at": TEXT, "model": TEXT, "mode": TEXT, "text": TEXT}
_DISK_USAGE = {"models_disk_usage": INTEGER, "default_backend_disk_usage": INTEGER}


class Client:
    """The API as methods. Every one raises the daemon's own error, rebuilt from its code."""

    def __init__(
        self,
        address: Address,
        *,
        user_agent: str,
        revive: Callable[[], None] | None = None,
        patience: float | None = None,
        hint: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`revive` is called once when nobody listens, and starts a daemon. `patience` is in seconds."""
        self._transport = Transport(
            address, user_agent=user_agent, revive=revive, patience=patience, hint=hint
        )
        self._pause = pause

    # Models

    def models(self, *, brief: bool = False) -> list[ModelView]:
        """List the models that are here; `brief` leaves the headers of their weights out where it can."""
        query = {"brief": "true"} if brief else {}
        reply = self._transport.call(list[object], "GET", "/models", query=query)
        return cast("list[ModelView]", self._checked(reply, [_MODEL]))

    def model(self, name: str, *, remote: bool = False) -> ModelView:
        """Describe one model; `remote` asks its registry instead of the store."""
        query = {"remote": "true"} if remote else {}
        reply = self._transport.call(dict[str, object], "GET", _path(name), query=query)
        return cast("ModelView", self._checked(reply, {"id?": TEXT, **_DESCRIBED}))

    def openai_models(self) -> OpenAIModelList:
        """List the models as OpenAI's API does."""
        reply = self._transport.call(dict[str, object], "GET", "/engines/v1/models")
        return cast("OpenAIModelList", self._checked(reply, {"data": [{"id": TEXT}]}))

    def openai_model(self, name: str) -> OpenAIModel:
        """Describe one model as OpenAI's API does."""
        path = f"/engines/v1{_path(name)}"
        return cast("OpenAIModel", self._transport.call(dict[str, object], "GET", path))

    def pull(
        self, name: str, token: str | None = None, *, on_retry: Callable[[int, float], None]
    ) -> Transfer:
        """Pull a model; yields its progress until it is here. `on_retry` is told the attempt and the wait."""
        body: PullRequest = {"from": name}
        if token:
            body["bearer-token"] = token
        return self._transfer("download", "/models/create", body, on_retry)

    def push(
        self, name: str, token: str | None = None, *, on_retry: Callable[[int, float], None]
    ) -> Transfer:
        """Push a model; yields its progress until it is there."""
        body: PushRequest = {"bearer-token": token} if token else {}
        return self._transfer("push", _path(name, "push"), body, on_retry)

    def load(self, archive: Iterable[bytes], size: int | None) -> Transfer:
        """Send models as a tar archive of exactly `size` bytes, if that is known; yields what has come."""
        headers = {"Content-Type": _TAR} | ({} if size is None else {"Content-Length": str(size)})
        return self._progress("/models/load", archive, headers)

    def export(
        self, request: ExportRequest, *, on_size: Callable[[int], None]
    ) -> Generator[bytes, None, None]:
        """Yield an archive of some models in pieces; `on_size` is told its bytes before the first of them.

        Raises:
            RunnerError: the daemon refuses, or the archive breaks off.
        """
        accept = {"Accept": f"{_TAR}, {ACCEPT}"}
        with self._transport.open("POST", "/models/export", body=request, headers=accept) as response:
            length = response.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                raise self._transport.stranger()
            on_size(int(length))
            yield from read_exactly(response, int(length))

    def blobs(self) -> list[str]:
        """List the digests of everything that the models here are made of."""
        reply = self._transport.call(list[object], "GET", "/blobs")
        return cast("list[str]", self._checked(reply, [TEXT]))

    def import_models(self, request: ImportRequest) -> Transfer:
        """Take over models that other programs keep on the daemon's machine; yields what has come."""
        return self._progress("/models/import", request)

    def take(self, request: TakeRequest) -> Transfer:
        """Have the daemon read a file of this machine as a blob; the last line's message is its digest.

        Raises:
            InvalidRequest: it does not see the file.
        """
        return self._progress("/models/take", request)

    def verify(self, request: VerifyRequest) -> Transfer:
        """Check the files of models; yields what is found.

        Raises:
            RunnerError: something is damaged, and was not repaired.
        """
        return self._progress("/models/verify", request)

    def prune(self, request: PruneRequest) -> PruneReply:
        """Delete files that belong to no model; says which."""
        reply = self._transport.call(dict[str, object], "POST", "/models/prune", body=request)
        shape = {"files": [{"path": TEXT, "kind": TEXT, "size": INTEGER}], "freed": INTEGER}
        return cast("PruneReply", self._checked(reply, shape))

    def repackage(self, name: str, request: RepackageRequest) -> None:
        """Make a variant that shares the layers of `name`."""
        self._transport.do("POST", _path(name, "repackage"), request)

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give a model another name."""
        self._transport.do("POST", _path(name, "tag"), query={"repo": repository, "tag": tag})

    def remove(self, name: str, *, force: bool) -> list[Removal]:
        """Remove a tag, and the model with its last one."""
        query = {"force": "true" if force else "false"}
        reply = self._transport.call(list[object], "DELETE", _path(name), query=query)
        return cast("list[Removal]", self._checked(reply, [{"*": TEXT}]))

    def purge(self) -> None:
        """Remove every model."""
        self._transport.do("DELETE", "/models/purge")

    # Engines

    def status(self) -> dict[str, str]:
        """Tell each engine's state as text."""
        reply = self._transport.call(dict[str, object], "GET", "/engines/status")
        return cast("dict[str, str]", self._checked(reply, {"*": TEXT}))

    def running(self) -> list[RunningModel]:
        """List what is in memory."""
        reply = self._transport.call(list[object], "GET", "/engines/ps")
        return cast("list[RunningModel]", self._checked(reply, _RUNNING))

    def events(self, query: Mapping[str, str]) -> list[EventView]:
        """List what happened lately to models in memory; `query` narrows it down as the route has it."""
        reply = self._transport.call(list[object], "GET", "/engines/events", query=query)
        return cast("list[EventView]", self._checked(reply, [_EVENT]))

    def follow_events(
        self, query: Mapping[str, str], on_gap: Callable[[str], None]
    ) -> Generator[EventView, None, None]:
        """Yield the same, and then what happens; `on_gap` is told of what is missing, or of the end."""
        accept = {"Accept": f"text/event-stream, {ACCEPT}"}
        with self._transport.open("GET", "/engines/events", query=query, headers=accept) as response:
            for name, data in read_events(response):
                if name == "lost":
                    on_gap(f"{data.get('lost')} events are missing: they came too fast")
                elif name == "end":
                    on_gap(str(data.get("text", "the daemon has ended the stream")))
                else:
                    yield cast("EventView", self._checked(data, _EVENT))

    def explain(self, query: Mapping[str, str]) -> Explanation:
        """Say what a request for a model would meet now; `query` names it as the route has it."""
        reply = self._transport.call(dict[str, object], "GET", "/engines/explain", query=query)
        return cast("Explanation", self._checked(reply, {"sentences": [TEXT], "events": [_EVENT]}))

    @property
    def observer(self) -> Observer:
        """What a screen that stays open asks again and again."""
        return Observer(self._transport)

    def disk_usage(self) -> DiskUsage:
        """Tell what models and engines take on disk."""
        reply = self._transport.call(dict[str, object], "GET", "/engines/df")
        return cast("DiskUsage", self._checked(reply, _DISK_USAGE))

    def unload(self, request: UnloadRequest) -> UnloadReply:
        """Unload idle models; returns when their engines are gone."""
        reply = self._transport.call(dict[str, object], "POST", "/engines/unload", body=request)
        return cast("UnloadReply", self._checked(reply, {"unloaded_runners": INTEGER}))

    def install_backend(self, request: InstallRequest) -> Transfer:
        """Install an engine; yields what happens until it is here."""
        return self._progress("/engines/install-backend", request)

    def uninstall_backend(self, name: str) -> None:
        """Remove an engine that was installed."""
        request: InstallRequest = {"backend": name}
        self._transport.do("POST", "/engines/uninstall-backend", request)

    def configure(self, request: ConfigureRequest) -> RefusalView | None:
        """Say how a model is to be run from now on."""
        return self._configured("POST", request)

    def change_configuration(self, request: ConfigureRequest) -> RefusalView | None:
        """Change what a request names of how a model is run, and leave the rest."""
        return self._configured("PATCH", request)

    def _configured(self, method: str, request: ConfigureRequest) -> RefusalView | None:
        with self._transport.open(method, "/engines/_configure", body=request) as response:
            raw = response.read()
        try:
            reply = json.loads(raw)
        except (
            ValueError,
            RecursionError,
        ):  # as a rule there is nothing, and another daemon's words are its own
            return None
        return cast("ConfiguredReply", reply)["refusal"] if fits(reply, _CONFIGURED) else None

    def reset_configuration(self, name: str | None, mode: str | None = None) -> int:
        """Forget how a model, or without a name any, is to be run; how many configurations there were."""
        query = {"model": name} if name is not None else {"all": "true"}
        if mode is not None:
            query["mode"] = mode
        reply = self._transport.call(dict[str, object], "DELETE", "/engines/_configure", query=query)
        return cast("ResetReply", self._checked(reply, {"forgotten": INTEGER}))["forgotten"]

    def configurations(self, name: str | None = None, *, effective: bool = False) -> list[ConfigurationView]:
        """List what was configured, for all models or for one; with `effective` also what is in force."""
        query = ({"model": name} if name else {}) | ({"effective": "true"} if effective else {})
        reply = self._transport.call(list[object], "GET", "/engines/_configure", query=query)
        shape = [{"Model?": TEXT, "Mode?": TEXT, "Config": {}, "Effective?": {"*": {"from": TEXT}}}]
        return cast("list[ConfigurationView]", self._checked(reply, shape))

    # The daemon

    def version(self) -> str:
        """Tell the daemon's version."""
        reply = self._transport.call(dict[str, object], "GET", "/version")
        return str(reply.get("version", "unknown"))

    def process(self) -> int | None:
        """Tell the number of the daemon's process; None for a daemon that does not say."""
        pid = self._transport.call(dict[str, object], "GET", "/version").get("pid")
        return pid if isinstance(pid, int) else None

    def inspector(self) -> Inspector:
        """Give the routes of recorded requests."""
        from modelrunner.client.inspector import Inspector  # noqa: PLC0415 - for one command of many

        return Inspector(self._transport)

    def logs(
        self, *, follow: bool, engines: bool, query: Mapping[str, str] | None = None
    ) -> Generator[bytes, None, None]:
        """Yield the logs as they are, in pieces; with `follow` until the daemon or the caller ends it.

        `query` narrows it down, as the route has it.
        """
        query = {
            "follow": str(follow).lower(),
            "no-engines": str(not engines).lower(),
            **(query or {}),
        }
        with self._transport.open("GET", "/logs", query=query) as response:
            while piece := response.read1(PIECE):
                yield piece

    # Chat

    def preload(self, name: str) -> None:
        """Load a model; returns once its engine is ready."""
        body = {"model": name, "messages": [], "stream": False}
        with self._transport.open("POST", CHAT, body=body, headers={PRELOAD_HEADER: "true"}) as response:
            response.read()

    def chat(
        self, name: str, messages: Sequence[Message], options: Mapping[str, object] | None = None
    ) -> Generator[Piece, None, None]:
        """Ask a model and yield its answer as it comes; `options` are further fields of the request.

        Raises:
            EngineFailed: the stream ended before the answer did.
        """
        yield from ask(self._transport, CHAT, {"model": name, "messages": messages, **(options or {})})

    def complete(
        self, name: str, messages: Sequence[Message], options: Mapping[str, object]
    ) -> Generator[Piece, None, None]:
        """Ask a model and yield its answer once it is whole; `options` are further fields of the request."""
        body = {"model": name, "messages": messages, "stream": False, **options}
        with self._transport.open("POST", CHAT, body=body) as response:
            yield from read_answer(response)

    def _checked(self, reply: object, shape: Shape) -> object:
        """Return the reply if it can be read.

        Raises:
            RunnerError: it cannot, so this is no daemon of ours.
        """
        if not fits(reply, shape):
            raise self._transport.stranger()
        return reply

    # Transfers

    def _transfer(
        self, verb: str, path: str, body: object, on_retry: Callable[[int, float], None]
    ) -> Transfer:
        """Follow a pull or push; when the way there breaks, try again, which resumes."""
        for attempt, delay in enumerate((*RETRY_DELAYS, None), start=1):
            try:
                yield from self._progress(path, body)
            except RunnerError as exc:
                if not exc.detail.get("transient"):
                    raise
                if delay is None:
                    message = f"{verb} failed after {len(RETRY_DELAYS)} retries: {exc.message}"
                    raise errors.rebuild(exc.code, message, exc.hint) from exc
                on_retry(attempt, delay)
                self._pause(delay)
            else:
                return

    def _progress(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Transfer:
        with self._transport.open("POST", path, body=body, headers=headers) as response:
            yield from read_progress(response)


def _path(name: str, action: str = "") -> str:
    """Name a model's route; slashes and colons stay, because the route takes the name as it is written.

    A model called `purge` must not be taken for the route that removes everything, so it gets its tag.

    Raises:
        InvalidReference: there is no name.
    """
    if not name.strip():
        raise errors.InvalidReference("empty model name", hint="`list` shows the models that are here")
    tag = ":latest" if name.rpartition("/")[2] in _ROUTES else ""
    return f"/models/{quote(name, safe='/:@')}{tag}{f'/{action}' if action else ''}"

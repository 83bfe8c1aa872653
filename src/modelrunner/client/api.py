"""The API as methods: one for each route that the command line needs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

from modelrunner import errors
from modelrunner.client import expected
from modelrunner.client.answers import Message, Piece, ask, read_answer
from modelrunner.client.observing import Observer
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
        ConfigureRequest,
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
        return self._transport.call("GET", "/models", expected.MODELS, query=query)

    def model(self, name: str, *, remote: bool = False) -> ModelView:
        """Describe one model; `remote` asks its registry instead of the store."""
        query = {"remote": "true"} if remote else {}
        return self._transport.call("GET", _path(name), expected.MODEL, query=query)

    def openai_models(self) -> OpenAIModelList:
        """List the models as OpenAI's API does."""
        return self._transport.call("GET", "/engines/v1/models", expected.OPENAI_MODELS)

    def openai_model(self, name: str) -> OpenAIModel:
        """Describe one model as OpenAI's API does."""
        path = f"/engines/v1{_path(name)}"
        return self._transport.call("GET", path, expected.OPENAI_MODEL)

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
        return self._transport.call("GET", "/blobs", expected.DIGESTS)

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
        return self._transport.call("POST", "/models/prune", expected.PRUNED, body=request)

    def repackage(self, name: str, request: RepackageRequest) -> None:
        """Make a variant that shares the layers of `name`."""
        self._transport.do("POST", _path(name, "repackage"), request)

    def tag(self, name: str, repository: str, tag: str) -> None:
        """Give a model another name."""
        self._transport.do("POST", _path(name, "tag"), query={"repo": repository, "tag": tag})

    def remove(self, name: str, *, force: bool) -> list[Removal]:
        """Remove a tag, and the model with its last one."""
        query = {"force": "true" if force else "false"}
        return self._transport.call("DELETE", _path(name), expected.REMOVALS, query=query)

    def purge(self) -> None:
        """Remove every model."""
        self._transport.do("DELETE", "/models/purge")

    # Engines

    def status(self) -> dict[str, str]:
        """Tell each engine's state as text."""
        return self._transport.call("GET", "/engines/status", expected.STATUSES)

    def running(self) -> list[RunningModel]:
        """List what is in memory."""
        return self._transport.call("GET", "/engines/ps", expected.RUNNING)

    def events(self, query: Mapping[str, str]) -> list[EventView]:
        """List what happened lately to models in memory; `query` narrows it down as the route has it."""
        return self._transport.call("GET", "/engines/events", expected.EVENTS, query=query)

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
                    yield self._transport.checked(data, expected.EVENT)

    def explain(self, query: Mapping[str, str]) -> Explanation:
        """Say what a request for a model would meet now; `query` names it as the route has it."""
        return self._transport.call("GET", "/engines/explain", expected.EXPLANATION, query=query)

    @property
    def observer(self) -> Observer:
        """What a screen that stays open asks again and again."""
        return Observer(self._transport)

    def disk_usage(self) -> DiskUsage:
        """Tell what models and engines take on disk."""
        return self._transport.call("GET", "/engines/df", expected.DISK_USAGE)

    def unload(self, request: UnloadRequest) -> UnloadReply:
        """Unload idle models; returns when their engines are gone."""
        return self._transport.call("POST", "/engines/unload", expected.UNLOADED, body=request)

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
            reply = self._transport.checked(json.loads(raw), expected.CONFIGURED)
        except (ValueError, RecursionError, RunnerError):
            return None  # as a rule there is nothing, and another daemon's words are its own
        return reply["refusal"]

    def reset_configuration(self, name: str | None, mode: str | None = None) -> int:
        """Forget how a model, or without a name any, is to be run; how many configurations there were."""
        query = {"model": name} if name is not None else {"all": "true"}
        if mode is not None:
            query["mode"] = mode
        return self._transport.call("DELETE", "/engines/_configure", expected.RESET, query=query)["forgotten"]

    def configurations(self, name: str | None = None, *, effective: bool = False) -> list[ConfigurationView]:
        """List what was configured, for all models or for one; with `effective` also what is in force."""
        query = ({"model": name} if name else {}) | ({"effective": "true"} if effective else {})
        return self._transport.call("GET", "/engines/_configure", expected.CONFIGURATIONS, query=query)

    # The daemon

    def version(self) -> str:
        """Tell the daemon's version."""
        reply = self._transport.call("GET", "/version", expected.VERSION)
        return str(reply.get("version", "unknown"))

    def process(self) -> int | None:
        """Tell the number of the daemon's process; None for a daemon that does not say."""
        pid = self._transport.call("GET", "/version", expected.VERSION).get("pid")
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

"""One engine process serving one model: started, asked until it is ready, talked to, stopped.

Answers pass through unread. Which engine it is, and what its command line means, is not known here.
"""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Protocol

from modelrunner.engines.ask import Answer, Ask, AskEngine
from modelrunner.engines.base import Address, Launch, Sleep, explain
from modelrunner.engines.denied_fields import DeniedFields
from modelrunner.errors import (
    EngineFailed,
    NotReadyInTime,
    PortTaken,
    RunnerError,
    ShuttingDown,
)
from modelrunner.runtime.channel.connection import ConnectionLost, Connections, request_head
from modelrunner.runtime.channel.exchange import Exchange, Observer, Upstream, checked_target
from modelrunner.runtime.channel.headers import Header, for_engine
from modelrunner.runtime.channel.readiness import until_ready
from modelrunner.runtime.processes.output import last_lines
from modelrunner.runtime.processes.ports import is_taken
from modelrunner.runtime.processes.process import GRACE, Child, environment_of_engine
from modelrunner.runtime.processes.workspace import Workspace

_START_GRACE = 1.0  # seconds to end for a process that has nothing to save, because it was never ready
_OK = 200
_WORDS = 200  # bytes of an answer that an error repeats
_JSON = ((b"content-type", b"application/json"),)
_REAPED_WITHIN = 1.0  # seconds between a process's last closed connection and the news of its exit

_REFUSALS = ("Permission denied", "PermissionError", "Operation not permitted")
_HINT = "it may want what the sandbox refuses: DMR_SANDBOX=off turns that off"


class Companion(Protocol):
    """What goes with an instance: it may talk to the engine before a request is passed on, and at the end.

    It raises nothing but CancelledError, and takes no longer than a client would wait.
    """

    @property
    def attentive(self) -> bool:
        """Whether it wants to be asked before the next request."""
        ...

    async def prepare(self, ask: AskEngine, target: str, body: bytes) -> Observer | None:
        """Prepare the engine for a request, which is passed on afterwards."""
        ...

    async def save(self, ask: AskEngine) -> None:
        """Take what is to outlive the process, which is stopped afterwards."""
        ...


class Instance:
    """A running engine. Satisfies `lease.Running`."""

    def __init__(
        self,
        name: str,
        child: Child,
        address: Address,
        diagnose: Callable[[str], str | None],
        workspace: Workspace | None,
    ) -> None:
        self.name = name
        self.address = address
        self._child = child
        self._diagnose = diagnose
        self._workspace = workspace
        self._stopped = False
        self.slots: int | None = None
        self._companion: Companion | None = None
        self.model_name: str | None = None  # what requests have to call the model, if that matters
        self.denied_fields: DeniedFields = {}  # fields of requests that it must not get
        self._sleep: Sleep | None = None
        self.connections = Connections(address)

    @classmethod
    async def start(
        cls,
        launch: Launch,
        address: Address,
        name: str,
        log: Callable[[str], None],
        diagnose: Callable[[str], str | None],
        *,
        environ: Mapping[str, str],
        workspace: Workspace | None = None,
    ) -> "Instance":
        """Start the process and return when it is ready; nothing of it is left if that fails.

        `name` is what people call the engine; `log` gets each line it writes, and `diagnose` its last lines
        when it failed. `environ` is what it inherits, less the credentials in it. The workspace is closed
        when the instance stops; without one, the engine is kept to nothing.

        Raises:
            EngineFailed: it cannot be run, or ended by itself; the message has its last lines.
            NotReadyInTime: it was not ready within `launch.ready_within`.
            PortTaken: another program listens where it was to; another port may do.
        """
        try:
            child = await _started(launch, address, log, environment_of_engine(environ), workspace)
        except OSError as exc:
            raise EngineFailed(
                f"{name} could not be started: `{launch.argv[0]}`: {exc.strerror}",
                hint="check that the engine is installed and that its program can be run",
            ) from exc
        instance = cls(name, child, address, diagnose, workspace)
        instance.model_name = launch.model_name
        instance.denied_fields = launch.denied_fields
        instance._sleep = launch.sleep
        try:
            await instance._become_ready(launch)
        except BaseException:
            await instance.stop(_START_GRACE)
            raise
        return instance

    @property
    def alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        return self._child.alive

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done, with the status, as soon as the process is gone. Not to be cancelled."""
        return self._child.exited

    @property
    def obituary(self) -> str:
        """Why the process ended, and the last lines that it wrote; only these while it runs."""
        words = self._child.tail
        return explain(self._cause(words), words) if self.exited.done() else words

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    def request(
        self, method: str, target: str, headers: Iterable[Header], body: bytes
    ) -> AbstractAsyncContextManager["Upstream"]:
        """Pass a request on; the block gets the answer as soon as its headers are here.

        `target` is path and query, encoded; `headers` are the client's, of which those that concern only its
        own connection are left out. Leaving the block early closes the connection, upon which an engine stops
        generating. There is no time limit.

        Raises:
            EngineFailed: the engine went away, or answered something that is not HTTP. Also while reading.
            ShuttingDown: it was stopped meanwhile. Also while reading.
            InvalidRequest: the target is none.
        """
        head = request_head(method, checked_target(target), for_engine(headers), len(body))
        companion = self._companion
        if companion is None or not companion.attentive:
            return Exchange(self, head, body)
        return Exchange(self, head, body, partial(companion.prepare, self.ask, target, body))

    def accompany(self, companion: Companion) -> None:
        """Let a companion see requests from now on, and the end."""
        self._companion = companion

    async def ask(self, question: Ask) -> Answer:
        """Ask the engine itself something, and read the whole answer.

        Raises:
            EngineFailed, ShuttingDown: as `request`.
        """
        head = request_head(question.method, checked_target(question.target), _JSON, len(question.body))
        async with Exchange(self, head, question.body) as upstream:
            return Answer(upstream.status, b"".join([chunk async for chunk in upstream.chunks()]))

    async def sleep(self) -> None:
        """Return when the engine sleeps.

        Raises:
            EngineFailed, ShuttingDown: it does not.
        """
        if self._sleep is None:
            raise EngineFailed(f"{self.name} cannot sleep")
        await self._obey(self._sleep.sleep, self._sleep.within)

    async def wake(self) -> None:
        """Return when the engine, which sleeps, is awake.

        Raises:
            EngineFailed, ShuttingDown: it is not.
        """
        if self._sleep is None:
            raise EngineFailed(f"{self.name} cannot wake")
        await self._obey(self._sleep.wake, self._sleep.within)

    async def _obey(self, order: Ask, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                answer = await self.ask(order)
        except TimeoutError as exc:
            raise EngineFailed(f"{self.name} did not answer `{order.target}` in {within:g} s") from exc
        if answer.status != _OK:
            words = answer.body[:_WORDS].decode(errors="replace")
            raise EngineFailed(f"{self.name} answered `{order.target}` with {answer.status}: {words}")

    async def stop(self, grace: float = GRACE) -> None:
        """Stop the process, if it still runs, and clear away what belongs to it; `grace` is in seconds."""
        companion, self._companion = self._companion, None
        try:
            if companion is not None and self.alive:
                await companion.save(self.ask)
        finally:
            await self._stop(grace)

    async def _stop(self, grace: float) -> None:
        self._stopped = self._stopped or self.alive
        await self._child.stop(grace)
        self.connections.close()
        if self.address.socket is not None:
            self.address.socket.unlink(missing_ok=True)
        if self._workspace is not None:
            await asyncio.to_thread(self._workspace.close)

    async def _become_ready(self, launch: Launch) -> None:
        polling = asyncio.create_task(until_ready(self.address, launch.health))
        try:
            await asyncio.wait(
                (polling, self.exited), timeout=launch.ready_within, return_when=asyncio.FIRST_COMPLETED
            )
            if (
                not self.alive
                and self.address.socket is None
                and is_taken(self.address.host, self.address.port)
            ):
                raise self._robbed()
            if not self.alive:
                raise await self._post_mortem()
            if polling.done() and not await self._is_what_answered():
                raise self._robbed()
            if not polling.done():
                raise NotReadyInTime(
                    explain(
                        f"{self.name} was not ready within {launch.ready_within:g} seconds", self._child.tail
                    ),
                    hint="a larger model may need more time",
                )
        finally:
            polling.cancel()
            await asyncio.wait((polling,))

    async def _is_what_answered(self) -> bool:
        """Whether the answer came from the engine: a port can be anybody's, and then so is what it says."""
        if self.address.socket is not None:
            return True
        return await asyncio.to_thread(self._child.listens_on, self.address.port)

    def _robbed(self) -> PortTaken:
        return PortTaken(
            f"another program took the port `{self.address.port}` before {self.name} could listen on it",
            hint="try again",
        )

    async def loss(self, cause: Exception | None = None) -> RunnerError:
        """Say why there is no answer, or no end of it; with the last lines if the process is gone."""
        if self._stopped:
            return ShuttingDown(f"{self.name} was stopped before its answer was complete")
        if isinstance(cause, ConnectionLost) and cause.fault is not None:
            return EngineFailed(f"{self.name} did not answer properly: {cause.fault}")
        await asyncio.wait((self.exited,), timeout=_REAPED_WITHIN)
        if self.alive:
            return EngineFailed(f"{self.name} did not complete its answer")
        return await self._post_mortem()

    async def _post_mortem(self) -> EngineFailed:
        words = await self._child.last_words()
        refused = (
            self._workspace is not None
            and self._workspace.confines
            and any(word in words for word in _REFUSALS)
        )
        return EngineFailed(
            explain(self._cause(words), last_lines(words)),
            hint=_HINT if refused else None,
            detail={"status": self.exited.result()},
        )

    def _cause(self, words: str) -> str:
        return self._diagnose(words) or f"{self.name} {_ending(self.exited.result())}"


async def _started(
    launch: Launch,
    address: Address,
    log: Callable[[str], None],
    environ: Mapping[str, str],
    workspace: Workspace | None,
) -> Child:
    """Start the process within its workspace.

    Raises:
        OSError: it cannot be run, or not be confined.
    """
    if workspace is None:
        env = {**environ, **launch.env}
        return await Child.start(
            launch.argv, env=env, cwd=launch.cwd, on_line=log, remembered=launch.remembered
        )
    confinement = workspace.confine(launch, address)
    try:
        child = await Child.start(
            launch.argv,
            env={**environ, **workspace.environment, **launch.env, **workspace.mark},
            cwd=launch.cwd,
            on_line=log,
            remembered=launch.remembered,
            before_exec=confinement.enter if confinement is not None else None,
        )
    finally:
        if confinement is not None:
            confinement.close()
    workspace.watch(child.pid)
    return child


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    with suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"

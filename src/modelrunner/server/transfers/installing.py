"""Engines are installed and removed: one installation at a time for each, shared by all who ask for it.

The daemon owns it: it ends with the daemon, and when the last of those who asked has gone.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

from modelrunner.engines.base import Engine, Installable
from modelrunner.engines.environment import Environment
from modelrunner.engines.registry import Engines
from modelrunner.errors import Conflict, InstallFailed, InvalidRequest, RunnerError, ShuttingDown
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.processes.installation import install
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.connection.progress import status_line, success_line
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.wire.transfers import ProgressLine

_log = logging.getLogger(__name__)


class Installing:
    """Installs engines for the routes."""

    def __init__(
        self,
        engines: Engines,
        catalogue: Catalogue,
        pool: Pool[Instance],
        *,
        unload: Callable[[Callable[[Key], bool]], Awaitable[int]],
        environ: Mapping[str, str],
        log: Callable[[str, str, str], None],
    ) -> None:
        """`environ` is what pip inherits, less the credentials in it.

        `log` takes an engine, what is done with it, and each line that is printed meanwhile.
        """
        self._engines = engines
        self._catalogue = catalogue
        self._pool = pool
        self._unload = unload
        self._environ = environ
        self._log = log
        self._jobs: dict[str, _Job] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def install(self, name: str, version: str | None) -> AsyncGenerator[ProgressLine, None]:
        """Install an engine, or find that it is here; the last line is a success.

        Raises:
            EngineNotFound: there is none of that name.
            InvalidRequest: the version is not the one that can be installed.
            InstallFailed: it cannot be installed here, or it did not work.
            ShuttingDown: the daemon stops.
        """
        engine = self._engines.get(name)
        environment = _environment(engine)
        if environment is None:
            yield await self._found(engine, version)
            return
        if version not in {None, "latest", environment.recipe.version}:
            raise InvalidRequest(
                f"{name} cannot be installed in version `{version}`",
                hint=f"this release installs {environment.recipe.version}",
            )
        found = await asyncio.to_thread(environment.find)
        if found is None or not found.current:
            async with contextlib.aclosing(self._shared(engine, environment)) as sentences:
                async for sentence in sentences:
                    yield status_line(sentence, "pull")
        yield success_line(f"{engine.display} {environment.recipe.version} is installed", "pull")

    async def uninstall(self, name: str) -> None:
        """Unload what an engine has loaded, and remove the engine.

        Raises:
            EngineNotFound: there is none of that name.
            InvalidRequest: it is none that the daemon installs.
            Conflict: it is being installed, or is in use.
        """
        engine = self._engines.get(name)
        environment = _environment(engine)
        if environment is None:
            raise InvalidRequest(
                f"backend uninstall failed: {name} was not installed by the model runner",
                hint="remove it the way it was installed",
            )
        if name in self._jobs:
            raise Conflict(
                f"backend uninstall failed: {name} is being installed", hint="interrupt that first"
            )
        async with self._turns[name]:
            await self._unload(lambda key: key.engine == name)
            if self._in_use(name):
                raise Conflict(
                    f"backend uninstall failed: {name} is in use",
                    hint="try again when its requests have ended",
                )
            await asyncio.to_thread(environment.remove)
            self._changed(name)
        _log.info("engine uninstalled name=%s", name)

    async def disk_usage(self) -> int:
        """The bytes of all that was installed."""
        found = [environment for engine in self._engines if (environment := _environment(engine))]
        return sum([await asyncio.to_thread(environment.disk_usage) for environment in found])

    async def close(self) -> None:
        """Break off what is being installed; nothing of it is left running afterwards."""
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _found(self, engine: Engine, version: str | None) -> ProgressLine:
        """Answer for an engine that is not installed from here: it is usable, or not to be had this way."""
        if version is not None:
            raise InvalidRequest(
                f"the version of {engine.name} cannot be chosen",
                hint="it comes with the model runner or with you",
            )
        status = (await asyncio.to_thread(self._engines.statuses))[engine.name]
        if not status.usable:
            raise InstallFailed(f"backend installation failed: {status.detail or status.state}")
        return success_line(f"{engine.display} is here: {status.detail}", "pull")

    async def _shared(self, engine: Engine, environment: Environment) -> AsyncGenerator[str, None]:
        while (job := self._jobs.get(engine.name)) is not None and job.abandoned:
            await asyncio.wait([job.task])
        job = job or self._begin(engine, environment)
        job.callers += 1
        try:
            async for sentence in job.follow():
                yield sentence
        finally:
            job.callers -= 1
            if not job.callers and not job.task.done():
                job.abandoned = True
                job.task.cancel()
                await asyncio.wait([job.task])
        job.outcome()

    def _begin(self, engine: Engine, environment: Environment) -> "_Job":
        job = _Job(partial(self._engines.note, engine.name))
        job.task = asyncio.create_task(self._run(engine, environment, job), name=f"install {engine.name}")
        self._jobs[engine.name] = job
        job.task.add_done_callback(lambda _: self._ended(engine.name))
        return job

    async def _run(self, engine: Engine, environment: Environment, job: "_Job") -> None:
        log = partial(self._log, engine.name, "install")
        async with self._turns[engine.name]:
            await install(environment, environ=self._environ, tell=job.tell, log=log)
            if not self._in_use(engine.name):  # its processes may need the environment of an older release
                await asyncio.to_thread(environment.remove, older=True)
        _log.info("engine installed name=%s version=%s", engine.name, environment.recipe.version)

    def _ended(self, name: str) -> None:
        del self._jobs[name]
        self._changed(name)

    def _changed(self, name: str) -> None:
        self._engines.note(name, None)
        self._catalogue.forget_choices()

    def _in_use(self, name: str) -> bool:
        return any(resident.key.engine == name for resident in self._pool.residents())


class _Job:
    """One installation, and what those who follow it get to read: its latest sentence, not every one."""

    task: asyncio.Task[None]

    def __init__(self, note: Callable[[str], None]) -> None:
        self.callers = 0
        self.abandoned = False
        self._note = note
        self._said = ""
        self._news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self, sentence: str) -> None:
        """Let the followers know what happens now."""
        self._said = sentence
        self._note(sentence)
        self._news.set_result(None)
        self._news = asyncio.get_running_loop().create_future()

    async def follow(self) -> AsyncIterator[str]:
        """What happens, until it is over."""
        shown = ""
        while not self.task.done():
            if self._said != shown:
                shown = self._said
                yield shown
            else:
                await asyncio.wait((self.task, self._news), return_when=asyncio.FIRST_COMPLETED)

    def outcome(self) -> None:
        """Raise what went wrong, if anything did; anew for each who asks.

        Raises:
            InstallFailed, Conflict, ShuttingDown: as the case may be.
        """
        if self.task.cancelled():
            raise ShuttingDown("the daemon is shutting down")
        exc = self.task.exception()
        if isinstance(exc, RunnerError):
            message = f"backend installation failed: {exc.message}"
            raise type(exc)(message, hint=exc.hint, detail=exc.detail) from exc
        if exc is not None:
            raise InstallFailed(
                "backend installation failed", hint="the daemon's log has the reason"
            ) from exc


def _environment(engine: Engine) -> Environment | None:
    return engine.environment if isinstance(engine, Installable) else None

"""An engine's environment being filled: the commands run one after the other, each owned and told of.

Who may ask for it, and who else waits for it, is not known here.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelrunner.engines.environment import Environment, Step
from modelrunner.errors import Conflict, InstallFailed
from modelrunner.runtime.processes.process import Child, without_credentials

Tell = Callable[[str], None]

_STOP_GRACE = 2.0  # seconds for pip to end; it has nothing to save
_PACKAGE = re.compile(r"(?:Collecting|Processing) ")
_DOWNLOAD = re.compile(r" *Downloading (?:\S*/)?(\S+) \(([^)]+)\)")
_UNPACKING = "Installing collected packages"
_ERROR = re.compile(r" *ERROR: *(.+)")


async def install(
    environment: Environment, *, environ: Mapping[str, str], tell: Tell, log: Callable[[str], None]
) -> None:
    """Make an environment, and return when it is whole; else nothing of it is left.

    `environ` is what pip inherits, which has settings of its own; `tell` gets sentences for people, `log`
    each line that is printed.

    Raises:
        Conflict: another process is at it.
        InstallFailed: a command failed; the message has its last words.
    """
    await asyncio.to_thread(environment.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    with _locked(environment.folder):
        try:
            await asyncio.to_thread(environment.begin)
            for step in environment.steps():
                await _run(step, environ, _Report(step, tell, log))
            await asyncio.to_thread(environment.complete)
        finally:
            # What was interrupted is cleared away; what is whole stays.
            await asyncio.shield(asyncio.to_thread(environment.begin))


async def _run(step: Step, environ: Mapping[str, str], report: "_Report") -> None:
    try:
        child = await Child.start(step.argv, env=without_credentials(environ), on_line=report.line)
    except OSError as exc:
        raise InstallFailed(f"{step.doing}: `{step.argv[0]}`: {exc.strerror}") from exc
    try:
        await asyncio.wait((child.exited,))
    finally:
        await child.stop(_STOP_GRACE)
    status = child.exited.result()
    if status != 0:
        words = await child.last_words()
        reason = report.error or next(reversed(words.splitlines()), f"exit status {status}")
        raise InstallFailed(f"{step.doing}: {reason.strip()}", hint=_hint(words), detail={"output": words})


class _Report:
    """What one command is at, from what it prints."""

    def __init__(self, step: Step, tell: Tell, log: Callable[[str], None]) -> None:
        self._step = step
        self._tell = tell
        self._log = log
        self._seen = 0
        self.error = ""
        tell(step.doing)

    def line(self, line: str) -> None:
        """Take a line of its output."""
        self._log(line)
        if _PACKAGE.match(line):
            self._seen += 1
            if self._step.packages:
                count = min(self._seen, self._step.packages)
                self._tell(f"{self._step.doing}: package {count} of {self._step.packages}")
        elif match := _DOWNLOAD.match(line):
            self._tell(f"{self._step.doing}: downloading {match[1]} ({match[2]})")
        elif line.startswith(_UNPACKING):
            self._tell(f"{self._step.doing}: unpacking")
        elif (match := _ERROR.match(line)) and not self.error:
            self.error = match[1]


def _hint(words: str) -> str:
    if "No space left" in words:
        return "free some space, or set DMR_ENGINES_PATH to a folder on a larger disk"
    if "ensurepip" in words:
        return "Python's module venv is missing: on Debian, install the package python3-venv"
    return "the log has what was printed; pip's own settings, such as PIP_INDEX_URL, are used"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change a folder; the kernel lets go whatever way its owner ends."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock, folder)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise Conflict(
            f"another process is installing into `{folder}`", hint="wait for it, then try again"
        ) from exc

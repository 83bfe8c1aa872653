"""Kills itself with SIGKILL before its n-th change of the disk, for every n; see test_configuration_file.py.

usage: configuration_crash.py DIRECTORY

Each attempt is a child in a directory of its own, which keeps two configurations, replaces one, and forgets
one; it begins with a damaged file. Prints how many attempts there were; the last one was not killed.
"""

import os
import signal
import sys
from pathlib import Path

from modelrunner.engines.base import Options
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.server.configuration.configuration import Configuration
from modelrunner.server.configuration.configuration_file import ConfigurationFile, Entry

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "fcntl.flock"}
LIMIT = 1000  # attempts; far more than the story has changes


def entry(mode: Mode, context: int) -> Entry:
    return Entry(
        "llama.cpp", mode, Digest.of(b"model"), None, Configuration(options=Options(context_size=context))
    )


ONE, OTHER = entry(Mode.COMPLETION, 512), entry(Mode.EMBEDDING, 1024)
STORY = ((), (ONE,), (ONE, OTHER), (entry(Mode.COMPLETION, 4096), OTHER), (OTHER,))


def file_in(root: Path) -> ConfigurationFile:
    return ConfigurationFile(root / "configurations.json", root / ".locks" / "it.lock", root / "aside")


def story(root: Path) -> None:
    file = file_in(root)
    file.read()
    for entries in STORY[1:]:
        file.edit(lambda _, after=entries: after)  # type: ignore[misc]  # mypy knows no default of a lambda


def die_before(change: int, root: Path) -> None:
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in CHANGES and (event == "fcntl.flock" or str(root) in str(arguments[0])):
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def attempt(change: int, directory: Path) -> bool:
    """Run the story in a child; whether it was killed."""
    root = directory / f"{change:04}"
    root.mkdir()
    (root / "configurations.json").write_bytes(b'{"version": 1, "conf')
    child = os.fork()
    if child == 0:
        die_before(change, root)
        story(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        raise SystemExit(f"attempt {change} failed with status {status}")
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    print(next(n for n in range(1, LIMIT) if not attempt(n, Path(sys.argv[1]))))

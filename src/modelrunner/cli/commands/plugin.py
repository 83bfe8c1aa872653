"""`plugin`: makes `docker model` this program, by a link where docker looks for plug-ins."""

import shutil
import sys
from pathlib import Path

from modelrunner.cli import json_file
from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser, UsageError
from modelrunner.cli.session import Session
from modelrunner.errors import Conflict, InvalidRequest, RunnerError

_NAME = "docker-model.exe" if sys.platform == "win32" else "docker-model"
# Source: docker/cli `cli-plugins/manager/manager_unix.go`, v28.
_SYSTEM = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def configure(parser: Parser) -> None:
    """Take what to do."""
    parser.words("(install | uninstall | status)")
    parser.switch("-f", "--force", help="With install: replace a plug-in of another origin")
    parser.examples = "  plugin install\n  docker model ls"


def run(args: Namespace, session: Session) -> int:
    """Link, remove the link, or tell which file docker takes."""
    match args.words:
        case []:
            return _status(session)
        case ["status"]:
            return _status(session)
        case ["install"]:
            return _install(session, force=args.force)
        case ["uninstall"]:
            return _uninstall(session)
        case _:
            raise UsageError(
                f'unknown command "{" ".join(args.words)}" for "{args.parser.prog}"',
                hint="one of: install, uninstall, status",
            )


def folders(session: Session) -> list[Path]:
    """List where docker looks for plug-ins, in its order."""
    config = json_file.read(session.docker_config / "config.json")
    extra = config.get("cliPluginsExtraDirs")
    more = [Path(str(path)) for path in extra] if isinstance(extra, list) else []
    return [session.docker_config / "cli-plugins", *more, *map(Path, _SYSTEM)]


def _install(session: Session, *, force: bool) -> int:
    program, link = _program(), folders(session)[0] / _NAME
    if link.is_symlink() and link.resolve() == program.resolve():
        say(f"`docker model` is this program already: {link}")
        return 0
    if link.is_dir() and not link.is_symlink():
        raise Conflict(
            f"there is a folder in the place of the plug-in: `{link}`", hint="move it away, and install again"
        )
    if (link.exists() or link.is_symlink()) and not force:
        raise Conflict(
            f"there is another plug-in: `{link}`",
            hint="`dmr plugin install --force` replaces it",
        )
    if (wrong := _in_the_way(link)) is not None:
        raise Conflict(
            f"docker looks for its plug-ins in a folder, but `{wrong}` is none",
            hint="move it away, and install again",
        )
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        if sys.platform == "win32":  # where links are for administrators
            shutil.copyfile(program, link)
        else:
            link.symlink_to(program)
    except OSError as exc:
        raise RunnerError(f"cannot link `{link}`: {exc.strerror}") from exc
    say(f"`docker model` is now this program: {link} -> {program}")
    return 0


def _in_the_way(link: Path) -> Path | None:
    """Find what stands where a folder of a link is to be, also a link to nowhere."""
    nearest = next((folder for folder in link.parents if folder.exists() or folder.is_symlink()), None)
    return None if nearest is None or nearest.is_dir() else nearest


def _uninstall(session: Session) -> int:
    link = folders(session)[0] / _NAME
    if not link.exists() and not link.is_symlink():
        say(f"nothing to remove: {link}")
        return 0
    if not _is_ours(link):
        raise Conflict(f"this plug-in is of another origin: `{link}`", hint="remove it by hand, if it may go")
    try:
        link.unlink()
    except OSError as exc:
        raise RunnerError(f"cannot remove `{link}`: {exc.strerror}") from exc
    say(f"removed {link}")
    return 0


def _status(session: Session) -> int:
    """Tell which file docker runs: the first that it finds."""
    found = [path for folder in folders(session) if (path := folder / _NAME).is_file()]
    if not found:
        say("`docker model` is not installed; `dmr plugin install` links it")
        return 1
    whose = "this program" if _is_ours(found[0]) else "another program"
    say(f"`docker model` is {whose}: {found[0]}")
    for path in found[1:]:
        say(f"hidden by it: {path}")
    return 0 if _is_ours(found[0]) else 1


def _program() -> Path:
    program = Path(sys.executable).parent / _NAME
    if not program.exists():
        raise InvalidRequest(f"there is no `{program}`", hint="install the package, by `pip` or `pipx`")
    return program


def _is_ours(path: Path) -> bool:
    program = Path(sys.executable).parent / _NAME
    if not program.exists() or not path.is_file():
        return False
    return path.resolve() == program.resolve() or path.read_bytes() == program.read_bytes()

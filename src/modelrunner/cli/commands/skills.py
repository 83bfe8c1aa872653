"""`skills`: teach coding agents to use this program, by files in the folders where they look for skills."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli import table
from modelrunner.cli.output import say
from modelrunner.cli.parse import Namespace, Parser, UsageError
from modelrunner.cli.session import Session
from modelrunner.errors import Conflict, RunnerError
from modelrunner.settings.folders import home

NAME = "docker-model-runner"
_SOURCE = Path(__file__).parent.parent / "skill"
# Where each agent looks, below the home folder.
_AGENTS = {
    "codex": (".codex", "skills"),
    "claude": (".claude", "skills"),
    "opencode": (".config", "opencode", "skills"),
}


class _File(NamedTuple):
    path: Path
    text: str


def configure(parser: Parser) -> None:
    """Take the agents, or any folder."""
    parser.words("", most=0)
    parser.switch("--codex", help="Install for Codex, in ~/.codex/skills")
    parser.switch("--claude", help="Install for Claude Code, in ~/.claude/skills")
    parser.switch("--opencode", help="Install for OpenCode, in ~/.config/opencode/skills")
    parser.add_argument("--dest", metavar="folder", help="Install in this folder")
    parser.switch("-f", "--force", help="Overwrite what is there")
    parser.examples = "  skills --claude --codex\n  skills --dest ./skills"


def run(args: Namespace, session: Session) -> int:
    """Write the files, or none of them when one is there already."""
    below = Path(home(sys.platform, session.environ))
    targets = [below.joinpath(*path) for agent, path in _AGENTS.items() if getattr(args, agent)]
    if args.dest:
        targets.append(Path(args.dest).expanduser().absolute())
    if not targets:
        raise UsageError(
            "no target specified. Use --codex, --claude, --opencode, or --dest",
            hint="several may be given at once",
        )
    files = [file for target in targets for file in _files(target)]
    for file in files:
        if file.path.exists() and not args.force:
            raise Conflict(f"file already exists: {file.path} (use --force to overwrite)")
    for file in files:
        _write(file)
    for target in targets:
        say(f"Installed Docker Model Runner skills to {target}")
    return 0


def guide() -> str:
    """The guide that comes along, with every command that this version has."""
    rows = "".join(f"| `dmr {name}` | {entry.summary} |\n" for name, entry in table.listed(standalone=True))
    return f"{(_SOURCE / 'guide.md').read_text()}\n| command | what it does |\n|---|---|\n{rows}"


def _files(folder: Path) -> Iterator[_File]:
    yield _File(folder / NAME / "SKILL.md", (_SOURCE / "SKILL.md").read_text())
    yield _File(folder / NAME / "references" / "docker-model-guide.md", guide())


def _write(file: _File) -> None:
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.text)
    except OSError as exc:
        raise RunnerError(
            f"cannot write `{file.path}`: {(exc.strerror or str(exc)).lower()}",
            hint="choose another `--dest`",
        ) from exc

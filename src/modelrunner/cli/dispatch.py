"""Which command the arguments ask for, in every form in which docker, Compose and people call us."""

from collections.abc import Mapping, Sequence

from modelrunner import __version__
from modelrunner.cli import table
from modelrunner.cli.command import build_parser, module
from modelrunner.cli.docker_flags import strip_docker
from modelrunner.cli.output import emit, say
from modelrunner.cli.parse import HelpAsked, UsageError, unknown_flag
from modelrunner.cli.session import Session

PLUGIN_MARK = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"
_HELP = frozenset({"-h", "--help"})


def dispatch(arguments: Sequence[str], environ: Mapping[str, str], *, standalone: bool) -> int:
    """Find the command, parse its arguments and run it; the exit code.

    Raises:
        RunnerError: whatever the command fails with, or a wrong command line.
    """
    if standalone:
        words, session = list(arguments), Session("dmr", environ)
    else:
        words, flags = strip_docker(arguments)
        if flags.config is not None:
            environ = {**environ, "DOCKER_CONFIG": flags.config}
        session = Session("docker model", environ, flags)
    if PLUGIN_MARK in environ and not standalone:
        from modelrunner.cli.plugin import follow_docker

        follow_docker(environ)
    if words and words[0].startswith("__complete"):
        from modelrunner.cli.complete import complete

        return complete(words[1:], session, standalone=standalone, plainly=words[0].endswith("NoDesc"))
    if standalone and words[:1] in (["--version"], ["-v"]):
        say(f"dmr version v{__version__}")
        return 0
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    if not words or words[0] in _HELP:
        emit(overview(session.program, standalone=standalone))
        return 0
    return _run(words[0], words[1:], session, standalone=standalone)


def overview(program: str, *, standalone: bool) -> str:
    """Lay out the list of commands as the docker CLI does."""
    rows = list(table.listed(standalone=standalone))
    width = max(len(name) for name, _ in rows)
    commands = "".join(f"  {name:<{width}}   {entry.summary}\n" for name, entry in rows)
    return (
        f"Usage:  {program} COMMAND\n\nDocker Model Runner\n\nCommands:\n{commands}\n"
        f"Run '{program} COMMAND --help' for more information on a command.\n"
    )


def _run(word: str, arguments: Sequence[str], session: Session, *, standalone: bool) -> int:
    found = table.find(word, standalone=standalone)
    if found is None:
        raise _unknown(word, session.program, standalone=standalone)
    name, entry = found
    parser = build_parser(name, entry, session.program)
    try:
        args = parser.read(arguments)
    except HelpAsked as help_asked:
        emit(str(help_asked))
        return 0
    args.parser = parser
    return module(entry).run(args, session)


def _unknown(word: str, program: str, *, standalone: bool) -> UsageError:
    if word.startswith("-"):
        return UsageError(f"{unknown_flag(word)}\n\nSee '{program} --help'")
    from difflib import get_close_matches

    near = get_close_matches(word, [name for name, _ in table.listed(standalone=standalone)], n=1)
    return UsageError(
        f'unknown command "{word}" for "{program.rpartition(" ")[2]}"',
        hint=f"did you mean `{program} {near[0]}`?" if near else f"see `{program} --help`",
    )

"""Answers to the shell's completion, which docker passes on as `__complete WORDS... TYPED`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from modelrunner.cli import table
from modelrunner.cli.names import display_name
from modelrunner.cli.output import emit
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError

_NO_SPACE, _NO_FILES = 2, 4  # Source: cobra 1.10, `ShellCompDirective`
_PATIENCE = 2.0  # seconds; a shell that waits for a hung daemon is worse than no suggestion

Offers = Callable[[Session], Iterable[str]]


class Candidates(NamedTuple):
    """What fits, and what the shell is to do besides."""

    offers: Iterable[str]
    directive: int = _NO_FILES


def complete(words: Sequence[str], session: Session, *, standalone: bool, plainly: bool = False) -> int:
    """Print the candidates for the last word, one a line, then the directive of cobra's protocol.

    `plainly` leaves the descriptions out.
    """
    typed = words[-1] if words else ""
    found = _candidates(words[:-1], typed, session, standalone=standalone)
    fitting = [
        offer for offer in found.offers if offer.startswith(typed) and offer.replace("\t", "").isprintable()
    ]
    if plainly:
        fitting = [offer.partition("\t")[0] for offer in fitting]
    emit("".join(f"{line}\n" for line in (*fitting, f":{found.directive}")))
    return 0


def _candidates(before: Sequence[str], typed: str, session: Session, *, standalone: bool) -> Candidates:
    if not before:
        return Candidates(_commands(session))
    if list(before) == ["help"]:
        return Candidates(_commands(session))
    found = table.find(before[0], standalone=standalone)
    if found is None or "--" in before:
        return Candidates(())
    name, entry = found
    if typed.startswith("-") or any(word.startswith("-") for word in before[1:]):
        flags = _Flags(name, entry, session.program)
        if before[-1] in flags.valued:
            return _values(before[-1], flags, session)
        if typed.startswith("-"):
            return Candidates(flags.offers())
        before = [before[0], *flags.words(before[1:])]
    return _arguments(name, before[1:], session)


def _arguments(name: str, given: Sequence[str], session: Session) -> Candidates:
    """What may stand where a command's next word does."""
    if name in _TAKE_FILES:
        return Candidates((), 0)
    if name in _SUBCOMMANDS:
        if not given:
            return Candidates(_SUBCOMMANDS[name])
        return Candidates(_contexts(session) if (name, given[0]) in _TAKE_CONTEXTS else ())
    if name in _WORDS:
        return Candidates(_WORDS[name](session) if not given else ())
    if name == "configure":
        show = [] if given else ["show\tShow what is in force"]
        return Candidates([*show, *_models(session)] if not given or list(given) == ["show"] else ())
    if name == "list" and not given:
        return Candidates(*_with_repositories(_models(session)))
    if name in _TAKE_MODELS or (name in _TAKE_ONE and not given):
        return Candidates(model for model in _models(session) if model not in given)
    return Candidates(())


def _values(flag: str, flags: "_Flags", session: Session) -> Candidates:
    if flag in _VALUES:
        return Candidates(_VALUES[flag](session))
    choices = flags.choices(flag)
    # What a flag without choices takes may well be a file.
    return Candidates(choices) if choices else Candidates((), 0)


class _Flags:
    """The flags of one command, of which the parser knows everything."""

    def __init__(self, name: str, entry: table.Entry, program: str) -> None:
        from modelrunner.cli.command import build_parser

        self._parser = build_parser(name, entry, program)
        self.valued = self._parser.valued()

    def offers(self) -> Iterator[str]:
        """Every flag that the help shows, with its line there."""
        for names, about in self._parser.flags():
            yield from (f"{flag}\t{about}" for flag in names if flag.startswith("--"))

    def choices(self, flag: str) -> Sequence[str]:
        """The few words that a flag takes; none when it takes any."""
        return self._parser.choices(flag)

    def words(self, given: Sequence[str]) -> Iterator[str]:
        """Leave flags and their values out."""
        left = iter(given)
        for word in left:
            if word in self.valued:
                next(left, None)
            elif not word.startswith("-"):
                yield word


def _models(session: Session) -> list[str]:
    """The names of the models that are here; none when nobody answers, because completion never fails."""
    try:
        models = session.client(start=False, patience=_PATIENCE).models(brief=True)
        registry = session.settings.default_registry
    except RunnerError:
        return []
    return sorted(display_name(tag, registry) for model in models for tag in model.get("tags") or [])


def _with_repositories(names: Sequence[str]) -> tuple[Sequence[str], int]:
    """Add the repositories that have several tags: `list` takes them too, and a colon may follow."""
    repositories = [_repository(name) for name in names]
    several = {each for each in repositories if repositories.count(each) > 1 and each not in names}
    return sorted({*names, *several}), _NO_FILES | (_NO_SPACE if several else 0)


def _repository(name: str) -> str:
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _shells(_: Session) -> Iterable[str]:
    from modelrunner.cli.shells import SHELLS

    return SHELLS


def _contexts(session: Session) -> Iterable[str]:
    from modelrunner.cli import contexts

    try:
        return sorted({contexts.DEFAULT, *contexts.read(contexts.path_in(session.docker_config)).named})
    except RunnerError:
        return ()


def _apps(session: Session) -> Iterable[str]:
    from modelrunner.cli.commands.launch import known

    try:
        return [f"{app.name}\t{app.description}" for app in known(session).values()]
    except RunnerError:
        return ()


def _commands(session: Session) -> Iterable[str]:
    listed = table.listed(standalone=session.program == "dmr")
    return (f"{name}\t{entry.summary}" for name, entry in listed)


def _backends(_: Session) -> Iterable[str]:
    return ("diffusers", "llama.cpp", "mlx", "piper", "sglang", "vllm", "whisper")


_TAKE_ONE = frozenset({"bench", "explain", "inspect", "push", "run", "show", "tag"})
_TAKE_MODELS = frozenset({"export", "pin", "rm", "unload", "unpin", "verify"})
_SUBCOMMANDS = {
    "context": ("create", "inspect", "ls", "rm", "use"),
    "plugin": ("install", "status", "uninstall"),
    "requests": ("diff", "export", "replay", "rm", "show", "stats", "status"),
}
_TAKE_CONTEXTS = frozenset({("context", "inspect"), ("context", "rm"), ("context", "use")})
_TAKE_FILES = frozenset({"import", "load", "package"})
_WORDS: dict[str, Offers] = {"completion": _shells, "launch": _apps}
_VALUES: dict[str, Offers] = {"--model": _models, "--from": _models, "--backend": _backends}

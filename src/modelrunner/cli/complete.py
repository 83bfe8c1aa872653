"""Answers to the shell's completion, which docker passes on as `__complete WORDS... TYPED`."""

from collections.abc import Sequence

from modelrunner.cli import table
from modelrunner.cli.names import display_name
from modelrunner.cli.output import say
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError

_NO_FILES = ":4"
_TAKE_MODELS = frozenset(
    {"bench", "configure", "explain", "export", "inspect", "list", "pin", "push", "rm", "run", "show", "tag"}
    | {"unload", "unpin", "verify"}
)
_TAKE_FILES = frozenset({"import", "load", "package"})
_PATIENCE = 2.0  # seconds; a shell that waits for a hung daemon is worse than no suggestion


def complete(words: Sequence[str], session: Session, *, standalone: bool) -> int:
    """Print the candidates for the last word, one a line, then the directive of cobra's protocol."""
    typed = words[-1] if words else ""
    if len(words) <= 1:
        for name, entry in table.listed(standalone=standalone):
            if name.startswith(typed):
                say(f"{name}\t{entry.summary}")
        say(_NO_FILES)
        return 0
    found = table.find(words[0], standalone=standalone)
    if found and found[0] in _TAKE_MODELS and not typed.startswith("-"):
        for name in _models(session):
            if name.startswith(typed):
                say(name)
    say(":0" if found and found[0] in _TAKE_FILES else _NO_FILES)
    return 0


def _models(session: Session) -> list[str]:
    """The names of the models that are here; none when nobody answers, because completion never fails."""
    try:
        models = session.client(start=False, patience=_PATIENCE).models()
        registry = session.settings.default_registry
    except RunnerError:
        return []
    return sorted(display_name(tag, registry) for model in models for tag in model.get("tags", []))

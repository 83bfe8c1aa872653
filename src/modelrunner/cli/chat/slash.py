"""The commands of a chat that begin with `/`: what they are called, and what they do."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from modelrunner.cli.chat import clipboard, saved
from modelrunner.cli.chat.conversation import Content, Conversation, Turn, words_of
from modelrunner.cli.chat.help import TOPICS, fitted, overview
from modelrunner.cli.chat.options import PARAMETERS, Options, switch
from modelrunner.cli.chat.showing import size
from modelrunner.cli.chat.statistics import Statistics
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.cli.output import clean, harmless, note, say
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.wire.models import ModelView

_MODEL_FACTS = frozenset({"architecture", "parameters", "quantization", "size"})
_COMMAND = re.compile(r"/(?:\?|[A-Za-z_-]*)(?=\s|$)")


@dataclass
class State:
    """A chat as its commands see and change it. `unanswered` is a prompt whose turn failed or was stopped."""

    model: str
    conversation: Conversation = field(default_factory=Conversation)
    options: Options = field(default_factory=Options)
    statistics: Statistics = field(default_factory=Statistics)
    thoughts: Thoughts = Thoughts.FOLD
    websearch: bool = False
    answer: str = ""
    thought: str = ""
    unanswered: Turn | None = None


class Hands(Protocol):
    """What commands do beyond the chat."""

    @property
    def chats(self) -> Path:
        """The folder of saved conversations."""
        ...

    def set_context_size(self, tokens: int) -> None:
        """Configure the model."""
        ...

    def models(self) -> list[str]:
        """Name the models that are here."""
        ...

    def describe(self, name: str) -> ModelView | None:
        """Describe a model; None where nobody can."""
        ...

    def preload(self, name: str) -> None:
        """Begin to load a model."""
        ...

    def edit(self, text: str) -> str:
        """Have a text edited."""
        ...

    def write(self, sequence: str) -> None:
        """Send something to the terminal that is no text."""
        ...


class Next(NamedTuple):
    """What comes after a command: the end, a prompt to be asked in place of the last turn, or nothing."""

    leave: bool = False
    ask: Content | None = None
    typed: str = ""


_NOTHING = Next()


def is_command(line: str) -> bool:
    """Whether a line is for us and not for the model: a slash and a word, which is no file."""
    match = _COMMAND.match(line)
    return match is not None and (line == "/" or not Path(match[0]).is_file())


def obey(line: str, state: State, hands: Hands) -> Next:
    """Carry out one command; what is wrong with it is told, and the chat goes on."""
    command, _, rest = line.strip().partition(" ")
    command, rest = command.lower(), rest.strip()
    run = _COMMANDS.get(command)
    if run is None:
        say(f"Unknown command '{clean(command)}'. Type /? for help")
        return _NOTHING
    try:
        return run(rest, state, hands)
    except RunnerError as exc:
        note("\n".join(map(clean, exc.message.splitlines())))
        return _NOTHING


def _bye(_rest: str, _state: State, _hands: Hands) -> Next:
    return Next(leave=True)


def _help(rest: str, _state: State, _hands: Hands) -> Next:
    note(fitted(TOPICS.get(rest.removeprefix("/"), "") or overview(), size()[0]))
    return _NOTHING


def _clear(_rest: str, state: State, _hands: Hands) -> Next:
    state.conversation.clear()
    state.statistics.forget()
    state.unanswered = None
    note("Cleared the conversation.")
    return _NOTHING


def _set(rest: str, state: State, hands: Hands) -> Next:
    option, _, value = rest.partition(" ")
    setter = _SETTERS.get(option)
    if not option:
        note(fitted(TOPICS["set"], size()[0]))
    elif setter is None:
        note(f"Unknown /set option: {clean(option)}\n{TOPICS['set']}")
    else:
        note(setter(value.strip(), state, hands))
    return _NOTHING


def _set_system(value: str, state: State, _hands: Hands) -> str:
    state.conversation.system = value.strip('"')
    return "Set system message." if state.conversation.system else "Cleared system message."


def _set_num_ctx(value: str, state: State, hands: Hands) -> str:
    if not value:
        return "Usage: /set num_ctx <value>"
    if not (value.isascii() and value.isdigit() and 0 < int(value[:20]) < 2**31):
        return f"Invalid value for num_ctx: {clean(value)} (must be a positive integer)"
    try:
        hands.set_context_size(int(value))
    except RunnerError as exc:
        return f"Failed to set num_ctx: {clean(exc.message)}"
    state.statistics.context = None
    return f"Set num_ctx to {value}"


def _set_parameter(value: str, state: State, hands: Hands) -> str:
    name, _, text = value.partition(" ")
    if name == "num_ctx":
        return _set_num_ctx(text.strip(), state, hands)
    name = state.options.set(name, text.strip())
    if name not in state.options.parameters:
        return f"{name} is the model's own again."
    return f"Set {name} to {_shown(state.options.parameters[name])}"


def _set_think(value: str, state: State, _hands: Hands) -> str:
    state.options.think = None if value == "auto" else switch(value)
    return f"Thinking: {value}"


def _set_thoughts(value: str, state: State, _hands: Hands) -> str:
    if value not in set(Thoughts):
        raise InvalidRequest(f"Invalid value for thoughts: {value} (must be one of: {', '.join(Thoughts)})")
    state.thoughts = Thoughts(value)
    return f"Thoughts: {value}"


def _set_websearch(value: str, state: State, _hands: Hands) -> str:
    state.websearch = switch(value)
    return f"Web search: {'on' if state.websearch else 'off'}"


def _set_format(value: str, state: State, _hands: Hands) -> str:
    if value not in {"json", "text"}:
        raise InvalidRequest(f"Invalid value for format: {value} (must be one of: json, text)")
    state.options.json = value == "json"
    return f"Answers: {value}"


def _system(rest: str, state: State, hands: Hands) -> Next:
    if rest:
        note(_set_system("" if rest == '""' else rest, state, hands))
    else:
        note(harmless(state.conversation.system) or "No system message. Set one with /system TEXT")
    return _NOTHING


def _show(rest: str, state: State, hands: Hands) -> Next:
    if rest == "messages":
        for turn in state.conversation.turns:
            say(f"> {harmless(words_of(turn.prompt))}\n\n{harmless(turn.answer.strip())}\n")
        return _NOTHING
    if rest not in {"", "model", "system", "parameters"}:
        raise InvalidRequest("Usage: /show [model | system | parameters | messages]")
    rows: list[tuple[str, str]] = []
    if rest in {"", "model"}:
        rows += _model_rows(state, hands)
    if rest in {"", "system"}:
        rows.append(("system", harmless(state.conversation.system) or "(none)"))
    if rest in {"", "parameters"}:
        rows += [(name, _shown(value)) for name, value in state.options.fields().items()]
    if not rest:
        rows.append(("thoughts", state.thoughts))
        rows.append(("web search", "on" if state.websearch else "off"))
        rows.append(("turns", str(len(state.conversation.turns))))
    width = max((len(name) for name, _ in rows), default=0)
    note("\n".join(f"  {name:<{width}}  {value}" for name, value in rows) or "No parameters are set.")
    return _NOTHING


def _model_rows(state: State, hands: Hands) -> list[tuple[str, str]]:
    view = hands.describe(state.model)
    config = (view["config"] if view else None) or {}
    rows = [("model", clean(state.model))]
    known = {key: value for key, value in config.items() if key in _MODEL_FACTS and value}
    rows += [(key, clean(str(value))) for key, value in known.items()]
    context = state.statistics.context or config.get("context_size")
    return [*rows, ("context", f"{context:,} tokens")] if context else rows


def _model(rest: str, state: State, hands: Hands) -> Next:
    if not rest:
        for name in hands.models():
            say(f"{'*' if name == state.model else ' '} {clean(name)}")
        return _NOTHING
    hands.describe(rest)
    state.model = rest
    state.statistics.context = None
    hands.preload(rest)
    note(f"Now talking to {clean(rest)}.")
    return _NOTHING


def _save(rest: str, state: State, hands: Hands) -> Next:
    if not rest:
        raise InvalidRequest("Usage: /save NAME, or a path; one that ends in .md is written as text")
    if not state.conversation.turns:
        raise InvalidRequest("There is nothing to save yet.")
    path = saved.place(rest, hands.chats)
    system, turns = state.conversation.system, state.conversation.turns
    saved.save(path, saved.Saved(state.model, system, state.options.parameters, turns))
    note(f"Saved to {clean(str(path))}")
    return _NOTHING


def _load(rest: str, state: State, hands: Hands) -> Next:
    if not rest:
        known = saved.names(hands.chats)
        note("\n".join(map(clean, known)) or "No conversations are saved. Save one with /save NAME")
        return _NOTHING
    found = saved.load(saved.place(rest, hands.chats))
    saved.restore(found, state.conversation)
    state.options.parameters = {name: value for name, value in found.parameters.items() if name in PARAMETERS}
    state.statistics.forget()
    state.unanswered = None
    state.answer = found.turns[-1].answer if found.turns else ""
    count = len(found.turns)
    note(f"Loaded {count} {'turn' if count == 1 else 'turns'}.")
    if found.model != state.model:
        note(f"They were with {clean(found.model)}; `/model {clean(found.model)}` goes on with it.")
    return _NOTHING


def _retry(_rest: str, state: State, _hands: Hands) -> Next:
    last = _last(state)
    return Next(ask=last.prompt, typed=last.typed)


def _edit(_rest: str, state: State, hands: Hands) -> Next:
    last = _last(state) if state.unanswered or state.conversation.turns else Turn("", "", "")
    text = hands.edit(last.typed)
    if not text.strip() or text == last.typed:
        note("Nothing was changed.")
        return _NOTHING
    return Next(ask="", typed=text)


def _last(state: State) -> Turn:
    turns = state.conversation.turns
    last = state.unanswered or (turns[-1] if turns else None)
    if last is None:
        raise InvalidRequest("Nothing was asked yet.")
    return last


def _copy(rest: str, state: State, hands: Hands) -> Next:
    text = clipboard.last_code(state.answer) if rest == "code" else state.answer.strip()
    if rest not in {"", "code"}:
        raise InvalidRequest("Usage: /copy, or /copy code for the last block of code")
    if not text:
        raise InvalidRequest("There is no code to copy." if rest else "There is no answer to copy yet.")
    size = len(text.encode())
    if size > clipboard.MOST:
        raise InvalidRequest(
            f"Too long for the clipboard of a terminal: {size:,} bytes. /save writes a file."
        )
    hands.write(clipboard.sequence(text))
    note(f"Copied {len(text):,} characters.")
    return _NOTHING


def _stats(_rest: str, state: State, _hands: Hands) -> Next:
    note(state.statistics.report())
    return _NOTHING


def _shown(value: object) -> str:
    return clean(" ".join(map(str, value)) if isinstance(value, list) else str(value))


_Command = Callable[[str, State, Hands], Next]
_COMMANDS: Mapping[str, _Command] = {
    "/bye": _bye,
    "/exit": _bye,
    "/?": _help,
    "/help": _help,
    "/clear": _clear,
    "/copy": _copy,
    "/edit": _edit,
    "/load": _load,
    "/model": _model,
    "/retry": _retry,
    "/save": _save,
    "/set": _set,
    "/show": _show,
    "/stats": _stats,
    "/system": _system,
}
_SETTERS: Mapping[str, Callable[[str, State, Hands], str]] = {
    "system": _set_system,
    "num_ctx": _set_num_ctx,
    "parameter": _set_parameter,
    "think": _set_think,
    "thoughts": _set_thoughts,
    "websearch": _set_websearch,
    "format": _set_format,
}

"""The conversation itself: one prompt, one answer, until one leaves."""

import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.cli.cells import wrap
from modelrunner.cli.chat import saved
from modelrunner.cli.chat.asking import Function, Question, take_turn
from modelrunner.cli.chat.attachments import expand
from modelrunner.cli.chat.composer import Composer, Pastes
from modelrunner.cli.chat.conversation import Content, Turn
from modelrunner.cli.chat.editor import edit
from modelrunner.cli.chat.help import SUMMARIES
from modelrunner.cli.chat.options import PARAMETERS
from modelrunner.cli.chat.peer import Peer
from modelrunner.cli.chat.showing import Manner, Thinking, show, size, warm
from modelrunner.cli.chat.slash import State, is_command, obey
from modelrunner.cli.chat.terminal import without_echo
from modelrunner.cli.chat.thoughts import Thoughts
from modelrunner.cli.output import emit, harmless, is_terminal, note, render_error
from modelrunner.cli.session import Session
from modelrunner.client.answers import valid
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.settings.folders import history_file
from modelrunner.wire.models import ModelView

if TYPE_CHECKING:
    from modelrunner.cli.chat.prompt import Desk

_USAGE = {"stream_options": {"include_usage": True}}
_UNFOLD = "ctrl-o shows it"
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def converse(session: Session, peer: Peer, name: str, how: Manner, *, websearch: bool = False) -> int:
    """Talk until `/bye`, Ctrl-D or the end of input; the model loads while the first prompt is typed."""
    chat = Chat(session, peer, State(name, websearch=websearch), how)
    chat.preload(name)
    warm(how)
    while True:
        try:
            if not chat.step():
                return 0
        except KeyboardInterrupt:  # between two prompts, where nothing is left to stop
            emit("\n")


class Chat:
    """One conversation at one terminal, and the hands of its commands."""

    def __init__(self, session: Session, peer: Peer, state: State, how: Manner) -> None:
        from modelrunner.cli.chat.prompt import Prompt

        self._session = session
        self._peer = peer
        self._state = state
        self._how = how
        self._composer = Composer()
        self._pastes = Pastes()
        self._leaving = False  # a second Ctrl-C in a row leaves
        self._answering = False
        home = Path(history_file(sys.platform, session.environ))
        self.chats = home.parent / "chats"
        self._prompt = Prompt(self._desk(None if session.settings.no_history else home))

    def step(self) -> bool:
        """Read one line and do what it asks for; False when the chat is over."""
        composing = self._composer.is_open
        try:
            line = valid(self._prompt.read())
        except EOFError:
            return False
        except KeyboardInterrupt:
            return self._interrupted(composing=composing)
        self._leaving = False
        message = self._composer.feed(line)
        if message is None or not message.strip():
            return True
        if composing or not is_command(message):
            self._ask(message)
            return True
        after = obey(message, self._state, self)
        if self._how is Manner.RENDERED and not after.leave:
            emit("\n")
        if after.ask is not None:
            self._ask_again(after.ask, after.typed)
        return not after.leave

    def _interrupted(self, *, composing: bool) -> bool:
        empty = self._prompt.is_empty and not composing
        self._composer.discard()
        if not empty:
            self._leaving = False
            return True
        if self._leaving:
            return False
        self._leaving = True
        emit("\nUse Ctrl + d or /bye to exit.\n")
        return True

    def _ask(self, typed: str) -> None:
        """Ask what was typed, with its files; a long paste is only text, whatever it names."""
        try:
            content = expand(typed)
        except RunnerError as exc:
            sys.stderr.write(render_error(exc))
            return
        if isinstance(content, str):
            content = self._pastes.restore(content)
        else:
            for part in content:
                if "text" in part:
                    part["text"] = self._pastes.restore(str(part["text"]))
        self._take_turn(content, self._pastes.restore(typed))

    def _ask_again(self, content: Content, typed: str) -> None:
        """Ask in place of the last turn, which stays if this one fails; without content, what was typed."""
        state = self._state
        replaced = None if state.unanswered else state.conversation.take_back()
        if content:
            self._take_turn(content, typed)
        else:
            self._ask(typed)
        if state.unanswered and replaced:
            state.conversation.add(*replaced)

    def _take_turn(self, content: Content, typed: str) -> None:
        """Ask and show; whatever goes wrong leaves the conversation as it was, and the chat open."""
        state = self._state
        state.unanswered = Turn(content, "", typed)
        messages = state.conversation.with_prompt(content)
        question = Question(state.model, messages, {**_USAGE, **state.options.fields()})
        rendered = self._how is Manner.RENDERED
        if rendered:
            emit("\n")
        heard: list[str] = []
        self._answering = True
        try:
            with (
                without_echo(),
                closing(take_turn(self._peer.talker(), question, self._functions())) as pieces,
            ):
                answer = show(pieces, self._how, Thinking(state.thoughts, _UNFOLD, heard))
        except KeyboardInterrupt:
            emit(f"{_DIM}stopped{_PLAIN}\n\n" if rendered else "\n")
            return
        except RunnerError as exc:
            emit("" if rendered else "\n")
            sys.stderr.write(f"{render_error(exc)}\n" if rendered else render_error(exc))
            return
        finally:
            self._answering = False
            state.thought = "".join(heard)
        emit("\n" if rendered else "\n\n")
        state.conversation.add(content, answer.text, typed)
        state.answer, state.unanswered = answer.text, None
        state.statistics.add(answer.measured)
        if state.statistics.context is None:
            state.statistics.context = self._peer.context(state.model)

    def _functions(self) -> tuple[Function, ...]:
        if not self._state.websearch:
            return ()
        from modelrunner.cli.chat.websearch import function

        return (function(self._session.settings.websearch),)

    # What commands do beyond the chat

    def set_context_size(self, tokens: int) -> None:
        """Configure the model."""
        self._peer.set_context_size(self._state.model, tokens)

    def models(self) -> list[str]:
        """Name the models that are there."""
        return self._peer.models()

    def describe(self, name: str) -> ModelView | None:
        """Describe a model."""
        return self._peer.describe(name)

    def preload(self, name: str) -> None:
        """Begin to load a model. While an answer is written, its own error will tell what is wrong."""

        def load() -> None:
            try:
                self._peer.preload(name)
            except RunnerError as exc:
                if not self._answering:
                    note(f"background model preload failed: {harmless(exc.message)}")

        threading.Thread(target=load, name="preload", daemon=True).start()

    def edit(self, text: str) -> str:
        """Have a text edited in the user's editor."""
        return edit(text, self._session.settings.editor)

    def write(self, sequence: str) -> None:
        """Send something to the terminal that is no text.

        Raises:
            InvalidRequest: it is none that would understand it.
        """
        if not is_terminal(sys.stdout) or self._session.environ.get("TERM") == "dumb":
            raise InvalidRequest("This terminal has no clipboard. /save writes a file.")
        emit(sequence)

    def _unfold(self) -> None:
        thought = harmless(self._state.thought.strip())
        text = "\n".join(wrap(thought, size()[0] - 1))
        if not thought:
            note("There are no thoughts behind the last answer.")
        elif self._how is Manner.RENDERED:
            sys.stderr.write(f"{_DIM}{text}{_PLAIN}\n\n")
            sys.stderr.flush()
        else:
            note(f"{text}\n")

    def _status(self, width: int) -> str:
        return self._state.statistics.status(self._state.model, width, self._notes())

    def _notes(self) -> str:
        return "web search on" if self._state.websearch else ""

    def _known_models(self) -> list[str]:
        try:
            return self._peer.models()
        except RunnerError:
            return []

    def _desk(self, history: Path | None) -> "Desk":
        from modelrunner.cli.chat.prompt import Desk

        settings = ["system", "num_ctx", "think on", "think off", "websearch on", "websearch off"]
        settings += [f"thoughts {word}" for word in Thoughts] + ["format json", "format text"]
        settings += [f"parameter {name}" for name in PARAMETERS]
        return Desk(
            status=self._status,
            is_open=lambda: self._composer.is_open,
            edit=self.edit,
            unfold=self._unfold,
            commands=SUMMARIES,
            words={
                "/set": lambda: settings,
                "/show": lambda: ["model", "system", "parameters", "messages"],
                "/model": self._known_models,
                "/load": lambda: saved.names(self.chats),
                "/copy": lambda: ["code"],
                "/help": lambda: ["set", "shortcuts", "files"],
                "/?": lambda: ["set", "shortcuts", "files"],
            },
            history=history,
            pastes=self._pastes,
        )

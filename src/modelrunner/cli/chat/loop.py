"""The interactive prompt. prompt-toolkit and rich are imported here only, and only once a chat begins."""

import os
import sys
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.cli.chat import history
from modelrunner.cli.chat.attachments import expand
from modelrunner.cli.chat.conversation import Composer, Conversation
from modelrunner.cli.chat.editor import edit
from modelrunner.cli.chat.plain import Style, show
from modelrunner.cli.chat.slash import obey
from modelrunner.cli.chat.terminal import without_echo
from modelrunner.cli.output import emit, note, render_error
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError
from modelrunner.settings import history_file
from modelrunner.wire import ConfigureOptions, ConfigureRequest

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import AnyFormattedText
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

_PLACEHOLDER = "Send a message (/? for help)"
_PLACEHOLDER_OPEN = 'Use """ to end multi-line input'
_TAB = " " * 8


def converse(session: Session, name: str, style: Style) -> int:
    """Talk until `/bye`, Ctrl-D or the end of input; the model loads while the first prompt is typed."""
    _preload(session, name)
    chat = _Chat(session, name, style)
    while True:
        try:
            if not chat.step():
                return 0
        except KeyboardInterrupt:  # between two prompts, where nothing is left to stop
            emit("\n")


class _Chat:
    """One conversation at one terminal."""

    def __init__(self, session: Session, name: str, style: Style) -> None:
        self._session = session
        self._name = name
        self._style = style
        self._conversation = Conversation()
        self._composer = Composer()
        self._prompt = _prompt(session, self._composer)

    def step(self) -> bool:
        """Read one line and do what it asks for; False when the chat is over."""
        composing = self._composer.is_open
        try:
            line = self._read()
        except EOFError:
            return False
        except KeyboardInterrupt:
            if not self._prompt.default_buffer.text and not composing:
                emit("\nUse Ctrl + d or /bye to exit.\n")
            self._composer.discard()
            return True
        message = self._composer.feed(line)
        if message is None or not message.strip():
            return True
        if composing or not _is_command(message):
            self._take_turn(message)
            return True
        return obey(message, self._conversation, self._set_context_size)

    def _read(self) -> str:
        from prompt_toolkit.patch_stdout import patch_stdout

        with patch_stdout(raw=True):
            return self._prompt.prompt()

    def _take_turn(self, text: str) -> None:
        """Ask and show; whatever goes wrong leaves the conversation as it was, and the chat open."""
        client = self._session.client()
        try:
            prompt = expand(text)
            messages = self._conversation.with_prompt(prompt)
            with without_echo(), closing(client.chat(self._name, messages)) as pieces:
                answer = show(pieces, self._style)
        except KeyboardInterrupt:
            emit("\n")
        except RunnerError as exc:
            emit("\n")
            sys.stderr.write(render_error(exc))
        else:
            emit("\n\n")
            self._conversation.add(prompt, answer)

    def _set_context_size(self, tokens: int) -> None:
        """Change this one thing; the daemon would forget the others."""
        client = self._session.client()
        rows = client.configurations(self._name)
        kept = next((row["Config"] for row in rows if row.get("Mode") == "completion"), ConfigureOptions())
        request: ConfigureRequest = {**kept, "model": self._name, "mode": "completion"}
        request["context-size"] = tokens
        client.configure(request)


def _is_command(message: str) -> bool:
    """Whether a line is for us: it begins with a slash, and with no file that is there."""
    return message.startswith("/") and not Path(message.split(maxsplit=1)[0]).is_file()


def markdown(text: str) -> str:
    """Render Markdown for the terminal's width, with colours."""
    from rich.console import Console
    from rich.markdown import Markdown

    try:
        width = os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        width = 80
    console = Console(force_terminal=True, width=width, color_system="standard", legacy_windows=False)
    with console.capture() as captured:
        console.print(Markdown(text))
    return captured.get()


def _preload(session: Session, name: str) -> None:
    def load() -> None:
        try:
            session.client().preload(name)
        except RunnerError as exc:
            note(f"background model preload failed: {exc.message}")

    threading.Thread(target=load, name="preload", daemon=True).start()


def _prompt(session: Session, composer: Composer) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.output import create_output

    def message() -> str:
        return ". " if composer.is_open else "> "

    def placeholder() -> "AnyFormattedText":
        return [("fg:ansibrightblack", _PLACEHOLDER_OPEN if composer.is_open else _PLACEHOLDER)]

    return PromptSession(
        message,
        placeholder=placeholder,
        history=_history(session),
        key_bindings=_keys(session),
        enable_suspend=True,
        output=create_output(always_prefer_tty=True),  # `run M > file` still shows its prompt
    )


def _keys(session: Session) -> "KeyBindings":
    """The keys that differ from those of every other line editor."""
    from prompt_toolkit.application import run_in_terminal
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("tab")
    def _indent(event: "KeyPressEvent") -> None:
        event.current_buffer.insert_text(_TAB)

    @keys.add("c-x", eager=True)
    async def _open_editor(event: "KeyPressEvent") -> None:
        buffer = event.current_buffer
        text = await run_in_terminal(lambda: edit(buffer.text, session.settings.editor))
        buffer.text = text
        buffer.cursor_position = len(text)

    return keys


def _history(session: Session) -> "History":
    """The prompts of earlier chats, saved after each new one unless the user does not want that."""
    from prompt_toolkit.history import History, InMemoryHistory

    path = Path(history_file(sys.platform, session.environ))

    class FileHistory(History):
        def load_history_strings(self) -> Iterable[str]:
            return reversed(history.load(path))

        def store_string(self, string: str) -> None:
            history.save(path, [*history.load(path), string])

    return InMemoryHistory() if session.settings.no_history else FileHistory()

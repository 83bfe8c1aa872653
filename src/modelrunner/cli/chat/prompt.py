"""The line at which one types: keys, completion, history, the status below. Alone knows prompt-toolkit."""

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, completion_is_selected, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import Style

from modelrunner.cli.chat import completing, history
from modelrunner.cli.chat.attachments import as_reference
from modelrunner.cli.chat.composer import Pastes, as_paste

_PLACEHOLDER = "Send a message (/? for help)"
_PLACEHOLDER_OPEN = 'Use """ to end multi-line input'
_TAB = " " * 8
_MENU = 6  # rows that are kept free for candidates
_STYLE = Style.from_dict(
    {
        "": "",
        "prompt": "ansicyan",
        "placeholder": "ansibrightblack",
        "bottom-toolbar": "noreverse ansibrightblack",
        "completion-menu": "bg:default",
        "completion-menu.completion": "bg:default ansibrightblack",
        "completion-menu.completion.current": "bg:default noreverse bold ansicyan",
        "completion-menu.meta.completion": "bg:default ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default noreverse ansibrightblack",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:default",
    }
)


class Desk(NamedTuple):
    """What the prompt asks of the chat."""

    status: Callable[[int], str]  # for so many columns
    is_open: Callable[[], bool]  # whether a message of several lines is begun
    edit: Callable[[str], str]
    unfold: Callable[[], None]
    commands: Mapping[str, str]
    words: Mapping[str, completing.Words]
    history: Path | None
    pastes: Pastes


class Prompt:
    """Reads one line after the other."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._session: PromptSession[str] = PromptSession(
            self._message,
            placeholder=self._placeholder,
            bottom_toolbar=self._toolbar,
            prompt_continuation="  ",
            history=_FileHistory(desk.history) if desk.history else InMemoryHistory(),
            completer=_Completer(desk),
            complete_while_typing=Condition(self._completes),
            complete_in_thread=True,  # names of models come from the daemon
            reserve_space_for_menu=_MENU,
            key_bindings=_keys(desk),
            multiline=True,
            enable_suspend=True,
            style=_STYLE,
            include_default_pygments_style=False,
            output=create_output(always_prefer_tty=True),  # `run M > file` still shows its prompt
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed when the line was left."""
        return not self._session.default_buffer.text

    def read(self) -> str:
        """Read a line; a long paste is its placeholder.

        Raises:
            EOFError: Ctrl-D at an empty line, or the input ended.
            KeyboardInterrupt: Ctrl-C.
            SystemExit: SIGTERM; the terminal is as it was before.
        """
        with patch_stdout(raw=True):
            return self._session.prompt(pre_run=self._heed_sigterm)

    def _heed_sigterm(self) -> None:
        with suppress(NotImplementedError):  # Windows has none
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._leave)

    def _leave(self) -> None:
        if not self._session.app.is_done:
            self._session.app.exit(exception=SystemExit(128 + signal.SIGTERM))

    def _completes(self) -> bool:
        return completing.is_open(self._session.default_buffer.document.text_before_cursor)

    def _message(self) -> StyleAndTextTuples:
        return [("class:prompt", ". " if self._desk.is_open() else "> ")]

    def _placeholder(self) -> StyleAndTextTuples:
        text = _PLACEHOLDER_OPEN if self._desk.is_open() else _PLACEHOLDER
        columns = get_app().output.get_size().columns
        return [("class:placeholder", text[: max(0, columns - 3)])]

    def _toolbar(self) -> StyleAndTextTuples:
        columns = get_app().output.get_size().columns
        return [("class:bottom-toolbar.text", self._desk.status(columns - 1))]


class _Completer(Completer):
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        desk = self._desk
        for found in completing.candidates(document.text_before_cursor, desk.commands, desk.words):
            yield Completion(
                found.text, -found.length, display=found.shown or found.text, display_meta=found.about
            )


class _FileHistory(History):
    """The prompts of earlier chats, saved after each new one."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        return reversed(history.load(self._path))

    def store_string(self, string: str) -> None:
        history.save(self._path, [*history.load(self._path), string])


def _keys(desk: Desk) -> KeyBindings:
    """The keys that differ from those of every other line editor."""
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)  # and not searching

    @keys.add("enter", filter=typing & ~completion_is_selected)
    @keys.add("c-j", filter=typing & ~completion_is_selected)
    def _submit(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("enter", filter=typing & completion_is_selected)
    def _accept(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @keys.add("escape", "enter", filter=typing)
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("tab", filter=typing)
    def _complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not completing.is_open(buffer.document.text_before_cursor):
            buffer.insert_text(_TAB)
        elif buffer.complete_state:
            _next(buffer)
        else:
            buffer.start_completion(insert_common_part=True)

    @keys.add(Keys.BracketedPaste, filter=typing)
    def _paste(event: KeyPressEvent) -> None:
        text = as_paste(event.data)
        event.current_buffer.insert_text(as_reference(text) or desk.pastes.shorten(text))

    @keys.add("c-x", eager=True)
    async def _open_editor(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        before = desk.pastes.restore(buffer.text)
        text = desk.pastes.shorten(await run_in_terminal(lambda: desk.edit(before)))
        buffer.text = text
        buffer.cursor_position = len(text)

    @keys.add("c-o")
    async def _unfold(_event: KeyPressEvent) -> None:
        await run_in_terminal(desk.unfold)

    return keys


def _next(buffer: Buffer) -> None:
    """Go to the next candidate, and take the only one at once."""
    state = buffer.complete_state
    if state and len(state.completions) == 1:
        buffer.apply_completion(state.completions[0])
    else:
        buffer.complete_next()

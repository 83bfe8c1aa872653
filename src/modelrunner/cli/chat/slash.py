"""The commands of a chat that begin with `/`."""

from collections.abc import Callable

from modelrunner.cli.chat.conversation import Conversation
from modelrunner.cli.output import clean, note, say
from modelrunner.errors import RunnerError

_HELP = """Available Commands:
  /set            Set a value for this session
  /clear          Forget the conversation so far
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts
  /? files        Help for files in prompts

Use \"\"\" to begin a multi-line message.
"""
_HELP_SET = """Available Commands:
  /set system <text>      Set the system message; without text, clear it
  /set num_ctx <value>    Set the context size in tokens
"""
_HELP_SHORTCUTS = """Available keyboard shortcuts:
  Ctrl + a            Move to the beginning of the line
  Ctrl + e            Move to the end of the line
  Alt + b / Alt + f   Move one word to the left / right
  Ctrl + k            Delete to the end of the line
  Ctrl + u            Delete to the beginning of the line
  Ctrl + w            Delete the word before the cursor
  Ctrl + p / Ctrl + n Previous / next prompt
  Ctrl + x            Open the prompt in your editor ($EDITOR)
  Ctrl + l            Clear the screen
  Ctrl + c            Stop the answer
  Ctrl + d            Exit (/bye)
"""
_HELP_FILES = """Files in prompts:
  @path, @"a path"    Replaced by the file's text
  /path/to/image.png  Sent as an image (.jpg, .jpeg, .png, .webp)
"""
_TOPICS = {
    "": _HELP,
    "set": _HELP_SET,
    "/set": _HELP_SET,
    "shortcut": _HELP_SHORTCUTS,
    "shortcuts": _HELP_SHORTCUTS,
    "file": _HELP_FILES,
    "files": _HELP_FILES,
}


def obey(line: str, conversation: Conversation, set_context_size: Callable[[int], None]) -> bool:
    """Carry out one command; False when the chat is over."""
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if command in {"/bye", "/exit"}:
        return False
    if command in {"/?", "/help"}:
        note(_TOPICS.get(rest, _HELP))
    elif command == "/clear":
        conversation.clear()
        note("Cleared the conversation.")
    elif command == "/set":
        _set(rest, conversation, set_context_size)
    else:
        say(f"Unknown command '{clean(command)}'. Type /? for help")
    return True


def _set(rest: str, conversation: Conversation, set_context_size: Callable[[int], None]) -> None:
    option, _, value = rest.partition(" ")
    value = value.strip()
    if not option:
        note(_HELP_SET)
    elif option == "system":
        conversation.system = value.strip('"')
        note("Set system message." if conversation.system else "Cleared system message.")
    elif option == "num_ctx":
        _set_num_ctx(value, set_context_size)
    elif option == "parameter":
        name, _, number = value.partition(" ")
        if name == "num_ctx":
            _set_num_ctx(number.strip(), set_context_size)
        else:
            note(f"Unknown parameter: {clean(name)}\nAvailable parameters: num_ctx")
    else:
        note(f"Unknown /set option: {clean(option)}\n{_HELP_SET}")


def _set_num_ctx(value: str, set_context_size: Callable[[int], None]) -> None:
    if not value:
        note("Usage: /set num_ctx <value>")
        return
    if not (value.isascii() and value.isdigit() and 0 < int(value[:20]) < 2**31):
        note(f"Invalid value for num_ctx: {clean(value)} (must be a positive integer)")
        return
    try:
        set_context_size(int(value))
    except RunnerError as exc:
        note(f"Failed to set num_ctx: {clean(exc.message)}")
    else:
        note(f"Set num_ctx to {value}")

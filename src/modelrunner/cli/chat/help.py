"""What a chat says of itself."""

import re
from collections.abc import Mapping

from modelrunner.cli.cells import wrap

_MOST_INDENT = 4  # columns of a line that is broken

SUMMARIES: Mapping[str, str] = {
    "/set": "Set a value for this session",
    "/show": "Show the model, the settings or the messages",
    "/system": "Show or set the system message",
    "/model": "List the models, or go on with another one",
    "/clear": "Forget the conversation so far",
    "/retry": "Ask the last question again",
    "/edit": "Change the last question in your editor, and ask again",
    "/copy": "Copy the last answer, or its code (/copy code)",
    "/save": "Save the conversation: a name, or a path",
    "/load": "Load a conversation, or list them",
    "/stats": "Show tokens, speed and the context used",
    "/help": "Help; also /? shortcuts, /? files, /? set",
    "/bye": "Exit",
}
_SET = """Available Commands:
  /set system <text>       Set the system message; without text, clear it
  /set num_ctx <value>     Set the context size in tokens
  /set parameter <name> <value>
                           temperature, top_p, top_k, min_p, max_tokens, seed,
                           frequency_penalty, presence_penalty, repeat_penalty,
                           stop; without a value, the model's own
  /set think on|off|auto   Have the model think, or not, if it can choose
  /set thoughts show|fold|hide
                           What is seen of its thoughts
  /set websearch on|off    Let the model search the web
  /set format json|text    The form of its answers
"""
_SHORTCUTS = """Available keyboard shortcuts:
  Ctrl + a            Move to the beginning of the line
  Ctrl + e            Move to the end of the line
  Alt + b / Alt + f   Move one word to the left / right
  Ctrl + k            Delete to the end of the line
  Ctrl + u            Delete to the beginning of the line
  Ctrl + w            Delete the word before the cursor
  Ctrl + p / Ctrl + n Previous / next prompt
  Ctrl + r            Search the prompts of this and earlier chats
  Alt + Enter         Begin a new line
  Ctrl + x            Open the prompt in your editor ($EDITOR)
  Ctrl + o            Show the thoughts behind the last answer
  Ctrl + l            Clear the screen
  Ctrl + c            Stop the answer; twice at an empty prompt, exit
  Ctrl + d            Exit (/bye)
  Tab                 Complete a command or a file
"""
_FILES = """Files in prompts:
  @path, @"a path"    Replaced by the file's text; Tab completes
  /path/to/image.png  Sent as an image (.jpg, .jpeg, .png, .webp)

A file that is dragged into the terminal is mentioned like that by itself.
"""
TOPICS: Mapping[str, str] = {
    "set": _SET,
    "shortcut": _SHORTCUTS,
    "shortcuts": _SHORTCUTS,
    "file": _FILES,
    "files": _FILES,
}


def overview() -> str:
    """All commands."""
    rows = "".join(f"  {name:<16}{about}\n" for name, about in SUMMARIES.items())
    return f'Available Commands:\n{rows}\nUse """ to begin a multi-line message.\n'


def fitted(text: str, columns: int) -> str:
    """Lay a help text out for a terminal: where a line is too long, what it says comes below its name."""
    lines: list[str] = []
    for line in text.split("\n"):
        if len(line) <= columns:
            lines.append(line)
            continue
        indent = min(len(line) - len(line.lstrip()), _MOST_INDENT)
        for number, part in enumerate(re.split(r"(?<=\S)  +", line.strip(), maxsplit=1)):
            margin = " " * (indent + 2 * number)
            lines += (f"{margin}{piece}" for piece in wrap(part, max(1, columns - len(margin))))
    return "\n".join(lines)

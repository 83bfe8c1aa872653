"""Prompts in the user's editor."""

import shlex
import sys
from pathlib import Path

import pytest

from modelrunner.cli.chat.editor import edit


def _editor(script: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"


def test_what_the_editor_saved_is_the_prompt() -> None:
    """The file holds the text so far; its final line ends are dropped."""
    script = "import sys; p = sys.argv[-1]; t = open(p).read(); open(p, 'w').write(t.upper() + '\\r\\n\\n')"

    assert edit("hello", _editor(script)) == "HELLO"


def test_flags_of_the_editor_come_before_the_file() -> None:
    """`code --wait` works."""
    script = "import sys; open(sys.argv[-1], 'w').write(sys.argv[1])"

    assert edit("x", f"{_editor(script)} --wait") == "--wait"


@pytest.mark.parametrize("command", [_editor("raise SystemExit(1)"), "/no/such/editor", "unbalanced 'quote"])
def test_a_failing_editor_changes_nothing(command: str) -> None:
    """The text stays as it was."""
    assert edit("keep me", command) == "keep me"


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are private."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    edit("x", _editor("pass"))

    assert list(tmp_path.iterdir()) == []

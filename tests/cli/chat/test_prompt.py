"""The line at which one types, where it is not the terminal of `e2e/test_chat.py` that shows it."""

import os
import signal

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input

from modelrunner.cli.chat.composer import Pastes
from modelrunner.cli.chat.prompt import Desk, Prompt


def test_sigterm_leaves_the_line_in_order() -> None:
    """So that the terminal is what it was, and the code is a shell's for that signal."""
    before = signal.getsignal(signal.SIGTERM)
    signals = [signal.SIGTERM]

    def status(_columns: int) -> str:  # it is asked for when the line is there
        while signals:
            os.kill(os.getpid(), signals.pop())
        return ""

    with create_pipe_input() as keys, create_app_session(input=keys):
        prompt = Prompt(
            Desk(
                status=status,
                is_open=lambda: False,
                edit=str,
                unfold=lambda: None,
                commands={},
                words={},
                history=None,
                pastes=Pastes(),
            )
        )
        with pytest.raises(SystemExit) as left:
            prompt.read()

    assert 143 == left.value.code
    assert before == signal.getsignal(signal.SIGTERM)

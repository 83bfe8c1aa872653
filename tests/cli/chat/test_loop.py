"""The chat in a real pseudo-terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon

CHAT = "/engines/v1/chat/completions"
_PATIENCE = 30.0  # seconds
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")
# Makes the pseudo-terminal the controlling one, so that Ctrl-C becomes a signal.
_LAUNCH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'modelrunner', *sys.argv[1:]])"
)


class Terminal:
    """A program on a pseudo-terminal: type into it, wait for what it shows."""

    def __init__(self, environ: dict[str, str], *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *arguments],
            env=environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._raw = b""
        self._read_to = 0

    @property
    def screen(self) -> str:
        """Everything shown so far, without the escape sequences."""
        return _ESCAPES.sub("", self._raw.decode(errors="replace"))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait until something new is shown that holds `text`; returns what came up to its end."""
        deadline = time.monotonic() + _PATIENCE
        while (at := self.screen.find(text, self._read_to)) < 0:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} did not appear after {self.screen[self._read_to :]!r}")
        shown = self.screen[self._read_to : at + len(text)]
        self._read_to = at + len(text)
        return shown

    def end(self) -> int:
        """Wait for the program to end; its exit code."""
        deadline = time.monotonic() + _PATIENCE
        while self._more(deadline):
            pass
        return self.process.wait(_PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _more(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            piece = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux says so when the other end is closed
            piece = b""
        self._raw += piece
        return bool(piece)


@pytest.fixture
def terminal(daemon: "Daemon", tmp_path: Path) -> Iterator[Terminal]:
    daemon.json("GET", "/models/m", {"id": "sha256:" + "a" * 64})
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "MODEL_RUNNER_HOST": daemon.url,
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "TERM": "xterm",
        "EDITOR": f"{sys.executable} -c \"import sys; open(sys.argv[-1], 'w').write('from the editor')\"",
    }
    environ.pop("DOCKER_MODEL_NOHISTORY", None)
    terminal = Terminal(environ, "run", "--color", "no", "m")
    try:
        terminal.expect("> ")
        yield terminal
    finally:
        terminal.close()


def _asked(daemon: "Daemon") -> list[tuple[str, str]]:
    document = daemon.chats[-1].json
    assert isinstance(document, dict)
    return [(message["role"], message["content"]) for message in document["messages"]]


def _ask(terminal: Terminal, text: str, answer: str) -> None:
    terminal.type(f"{text}\r")
    terminal.expect(answer)
    terminal.expect("> ")


def test_a_chat_remembers_its_turns(daemon: "Daemon", terminal: Terminal, tmp_path: Path) -> None:
    """Each turn sends the whole conversation; `/bye` leaves; prompts are kept for the next chat."""
    daemon.says("Hello", " Ada")
    daemon.says("You are Ada")

    _ask(terminal, "I am Ada", "Hello Ada")
    _ask(terminal, "Who am I?", "You are Ada")
    terminal.type("/bye\r")

    assert terminal.end() == 0
    assert _asked(daemon) == [
        ("user", "I am Ada"),
        ("assistant", "Hello Ada"),
        ("user", "Who am I?"),
    ]
    history = tmp_path / ".docker" / "model" / "history"
    assert history.read_text() == "I am Ada\nWho am I?\n/bye\n"
    assert history.stat().st_mode & 0o777 == 0o600


def test_the_model_is_loaded_while_one_types(daemon: "Daemon", terminal: Terminal) -> None:
    """The first request is for loading only, and a placeholder says what to do."""
    terminal.expect("Send a message (/? for help)")
    terminal.type("/bye\r")
    terminal.end()

    assert [seen.path for seen in daemon.seen if "X-Preload-Only" in seen.headers] == [CHAT]


def test_triple_quotes_hold_several_lines(daemon: "Daemon", terminal: Terminal) -> None:
    """The prompt changes while the message is open."""
    daemon.says("ok")

    terminal.type('"""first\r')
    terminal.expect(". ")
    terminal.type("second\r")
    terminal.expect(". ")
    _ask(terminal, '"""', "ok")

    assert _asked(daemon) == [("user", "first\nsecond")]


def test_pasted_line_breaks_do_not_submit(daemon: "Daemon", terminal: Terminal) -> None:
    """A bracketed paste is one message."""
    daemon.says("ok")

    terminal.type("\x1b[200~one\ntwo\x1b[201~")
    _ask(terminal, "", "ok")

    assert _asked(daemon) == [("user", "one\ntwo")]


def test_ctrl_c_stops_the_answer_and_keeps_the_chat(daemon: "Daemon", terminal: Terminal) -> None:
    """The turn that was stopped is not remembered."""
    gone = threading.Event()
    daemon.says("Once upon", " a time", wait=lambda: gone.wait(20))
    daemon.says("fine")

    terminal.type("a story\r")
    terminal.expect("Once upon")
    terminal.type("\x03")
    terminal.expect("> ")
    gone.set()
    _ask(terminal, "again", "fine")

    assert _asked(daemon) == [("user", "again")]


def test_a_failed_turn_is_not_remembered(daemon: "Daemon", terminal: Terminal) -> None:
    """The error is shown, and the next prompt comes."""
    daemon.refuses(CHAT, "engine_failed", "out of memory", status=500)
    daemon.says("fine")

    _ask(terminal, "one", "error: out of memory")
    _ask(terminal, "two", "fine")

    assert _asked(daemon) == [("user", "two")]


def test_ctrl_c_at_the_prompt_only_clears_it(daemon: "Daemon", terminal: Terminal) -> None:
    """At an empty one it says how to leave; Ctrl-D leaves."""
    terminal.expect("(/? for help)")
    terminal.type("some text\x03")
    terminal.expect("(/? for help)")
    terminal.type("\x03")
    terminal.expect("Use Ctrl + d or /bye to exit.")
    terminal.expect("> ")
    terminal.type("\x04")

    assert terminal.end() == 0
    assert daemon.chats == []


def test_commands_are_obeyed(daemon: "Daemon", terminal: Terminal) -> None:
    """The system prompt, the context size, help, and what is unknown; what else was configured stays."""
    daemon.says("ok")
    row = {"Backend": "llama.cpp", "Model": "m", "ModelID": "x", "Mode": "completion"}
    daemon.json("GET", "/engines/_configure", [{**row, "Config": {"context-size": 1, "keep_alive": "1h"}}])
    daemon.text("POST", "/engines/_configure", "", status=202)

    _ask(terminal, "/?", "Available Commands:")
    _ask(terminal, "/bogus", "Unknown command '/bogus'. Type /? for help")
    _ask(terminal, "/set num_ctx 4096", "Set num_ctx to 4096")
    _ask(terminal, "/set system Be brief.", "Set system message.")
    _ask(terminal, "hi", "ok")

    assert _asked(daemon) == [("system", "Be brief."), ("user", "hi")]
    asked, configured = [seen for seen in daemon.seen if seen.path == "/engines/_configure"]
    assert (asked.method, asked.query) == ("GET", {"model": "m"})
    assert configured.json == {
        "model": "m",
        "mode": "completion",
        "context-size": 4096,
        "keep_alive": "1h",
    }


def test_thoughts_and_token_counts_are_shown(daemon: "Daemon", terminal: Terminal) -> None:
    """Thoughts are set apart, and not remembered."""
    daemon.stream(
        b'data: {"choices":[{"delta":{"reasoning_content":"hmm"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"yes"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n',
        b"data: [DONE]\n\n",
    )
    daemon.says("ok")

    terminal.type("q\r")
    terminal.expect("Thinking:\nhmm\n\n--\n\nyes")
    terminal.expect("Token usage: 1 prompt + 2 completion = 3 total")
    terminal.expect("> ")
    _ask(terminal, "next", "ok")

    assert ("assistant", "yes") in _asked(daemon)


def test_a_prompt_can_be_written_in_the_editor(daemon: "Daemon", terminal: Terminal) -> None:
    """Ctrl-X opens it; what was saved is at the prompt."""
    daemon.says("ok")

    terminal.type("draft\x18")
    terminal.expect("om the editor")  # what of it differs from the draft
    _ask(terminal, "!", "ok")

    assert _asked(daemon) == [("user", "from the editor!")]


def test_tab_is_eight_spaces(daemon: "Daemon", terminal: Terminal) -> None:
    """There is nothing to complete."""
    daemon.says("ok")

    _ask(terminal, "\tx", "ok")

    assert _asked(daemon) == [("user", "        x")]

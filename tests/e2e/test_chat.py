"""The chat as a person has it: keys in, screen out, a real daemon behind it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.terminal import Window

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

PACE = '{"tokens_per_second": 120}'  # slow enough for a look at an answer that is being written
STORY = " ".join(f"word{number}" for number in range(200))


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A daemon with two models that say what they are told, a word at a time."""
    folder = tmp_path_factory.mktemp("echo")
    program = fake_llama_server(folder / "engine")
    with running(folder / "home", LLAMA_SERVER_PATH=str(program), FAKE_ENGINE=PACE) as runner:
        weights = tiny_gguf(folder / "tiny.gguf")
        runner.must("package", "--gguf", weights, "ai/parrot")
        runner.must("tag", "ai/parrot", "ai/magpie")
        yield runner


def _ask(chat: Window, prompt: str, *expected: str) -> str:
    """Ask, and wait for the answer's end."""
    chat.enter(prompt)
    for text in expected:
        chat.wait_for(text)
    return chat.wait_for("(/? for help)")


def test_an_answer_is_rendered_and_counted(echo: Runner, window: "Open") -> None:
    """As it is written, with what it is at; afterwards a line says what it took."""
    chat = window(echo, "run", "parrot")
    chat.wait_for("> Send a message (/? for help)")
    chat.wait_for("\nparrot")

    chat.enter(f"**bold** and `code` then {STORY}")
    chat.wait_for("tokens/s · ctrl-c stops")
    screen = chat.wait_for("parrot · 408 of ")
    styled = chat.styled

    assert "\x1b[1mbold" in styled
    assert "\x1b[36mcode" in styled
    assert "ctrl-c stops" not in screen
    assert "tokens/s" in screen.splitlines()[-1]
    chat.enter("/bye")
    assert chat.end() == 0


def test_ctrl_c_stops_an_answer_and_then_the_chat(echo: Runner, window: "Open") -> None:
    """What came stays to be seen; at an empty prompt the second one leaves."""
    chat = window(echo, "run", "parrot", rows=50)
    chat.wait_for("(/? for help)")
    chat.enter(STORY)
    chat.wait_for("ctrl-c stops")
    chat.press("C-c")
    answer = chat.wait_for("stopped").rpartition("word0 ")[2]
    assert answer.startswith("word1")
    assert "word199" not in answer
    _ask(chat, "hello there", "hello there\n\n")
    chat.press("C-c")
    chat.wait_for("Use Ctrl + d or /bye to exit.")
    chat.press("C-c")

    assert chat.end() == 0
    assert "Traceback" not in chat.history


def test_files_are_completed_and_sent(echo: Runner, window: "Open", tmp_path: Path) -> None:
    """An `@` offers what is there; a dragged file is mentioned by itself; a long paste is one word."""
    (tmp_path / "notes for you.txt").write_text("remember the milk")
    chat = window(echo, "run", "parrot")
    chat.wait_for("(/? for help)")
    chat.type(f"say @{tmp_path}/no")
    chat.wait_for("  notes for you.txt")
    chat.press("Tab")
    chat.press("Enter")
    chat.wait_for("say remember the milk\n")
    chat.wait_for("(/? for help)")

    (tmp_path / "evil.txt").write_text("\x1b]0;pwn\x07\x1b[2J\x1b[31mred\x9b2J")
    _ask(chat, f"@{tmp_path}/evil.txt", "\ufffd]0;pwn\ufffd\ufffd[2J\ufffd[31mred\ufffd2J")

    chat.paste(f"'{tmp_path}/notes for you.txt'")
    chat.wait_for('@"/')
    chat.press("C-u")
    chat.paste("\n".join(f"line {number}" for number in range(5000)) + f"\n@{tmp_path}/notes for you.txt")
    chat.wait_for("> [pasted 5001 lines, ")
    chat.press("C-u")
    _ask(chat, "/set parameter max_tokens 4", "Set max_tokens to 4")
    chat.paste("x " * 400_000)
    chat.wait_for("[pasted 800000 characters, ")
    chat.press("Enter")
    chat.wait_for("x x x x\n")

    assert "Traceback" not in chat.history


def test_a_conversation_goes_on_in_every_way(echo: Runner, window: "Open", tmp_path: Path) -> None:
    """With another model, again, edited, copied, saved and loaded."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "edited question" > "$1"\n')
    editor.chmod(0o755)
    chat = window(echo, "run", "parrot", EDITOR=str(editor), rows=40)
    chat.wait_for("(/? for help)")
    _ask(chat, "first question", "first question\n\n")
    chat.enter("/copy")
    chat.wait_for("Copied 14 characters.")
    assert chat.clipboard == "first question"
    _ask(chat, "/model magpie", "Now talking to magpie.")
    _ask(chat, "/retry", "magpie · ")
    _ask(chat, "/edit", "edited question\n")
    _ask(chat, "/show", "turns         1", "web search    off")
    _ask(chat, "/save trip", "chats/trip.json")
    _ask(chat, "/clear", "Cleared the conversation.")
    _ask(chat, "/load trip", "Loaded 1 turn.")
    chat.enter("/show messages")
    chat.wait_for("> edited question\n\nedited question\n")
    _ask(chat, "/stats", "all answers  6 + 6 tokens")

    other = window(echo, "run", "parrot")
    other.wait_for("(/? for help)")
    other.press("C-r")
    other.type("first")
    other.wait_for("first question")
    other.press("Enter", "Enter")
    other.wait_for("first question\n\nfirst question\n")


def test_a_narrow_terminal_and_a_change_of_size(echo: Runner, window: "Open") -> None:
    """Twenty columns do; a window that changes while an answer is written stays whole."""
    chat = window(echo, "run", "parrot", columns=20, rows=12)
    chat.wait_for("> Send a message")
    chat.enter("/help")
    chat.wait_for("message.")
    assert "  /stats\n    Show tokens," in chat.history
    chat.enter(STORY)
    chat.wait_for("word40")
    chat.resize(60, 15)
    chat.wait_for("word90")
    chat.resize(30, 10)
    chat.wait_for("Send a message")
    answer = chat.history.rpartition("word100 ")[2]

    assert answer.split()[:99] == [f"word{number}" for number in range(101, 200)]
    assert "Traceback" not in chat.history


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_is_plain_text(echo: Runner, window: "Open", extra: dict[str, str]) -> None:
    """As the model wrote it, and no colours from us."""
    chat = window(echo, "run", "parrot", **extra)
    chat.wait_for("> ")
    _ask(chat, "a **b**", "Token usage: 2 prompt + 2 completion = 4 total")

    assert "a **b**\n\nToken" in chat.screen
    if extra.get("TERM") == "dumb":
        _ask(chat, "/copy", "This terminal has no clipboard.")
    assert "\x1b[3" not in chat.styled.partition("> Send")[0]
    chat.press("C-d")
    assert chat.end() == 0


def test_a_daemon_that_ends_meanwhile_is_an_error_and_no_end(tmp_path: Path, window: "Open") -> None:
    """The chat goes on once one answers again."""
    program = fake_llama_server(tmp_path / "engine")
    with running(tmp_path / "home", LLAMA_SERVER_PATH=str(program), FAKE_ENGINE=PACE) as runner:
        runner.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/parrot")
        chat = window(runner, "run", "parrot", rows=40)
        chat.wait_for("(/? for help)")
        chat.enter(STORY)
        chat.wait_for("word5")
        port = runner.port
        runner.stop(signal.SIGKILL)
        chat.wait_for("error: ")
        chat.wait_for("(/? for help)")
        _ask(chat, "hello", "error: no daemon answers at")
        runner.start("--port", str(port))
        _ask(chat, "hello again", "hello again\n\n")

        assert "Traceback" not in chat.history


@pytest.mark.engine
def test_a_real_model_answers(real: Runner, window: "Open") -> None:
    """It is loaded while one types, and its context and speed are told."""
    chat = window(real, "run", "smollm2")
    chat.wait_for("(/? for help)")
    _ask(chat, "What is the capital of France?", "of 8,192 tokens")

    assert "Traceback" not in chat.history

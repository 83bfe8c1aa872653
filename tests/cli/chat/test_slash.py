"""The commands of a chat."""

import pytest

from modelrunner.cli.chat.conversation import Conversation
from modelrunner.cli.chat.slash import obey
from modelrunner.errors import Conflict


def _no_context(_: int) -> None:
    raise AssertionError("the context size was not to be set")


@pytest.mark.parametrize("line", ["/bye", "/exit", "/bye  "])
def test_a_chat_can_be_left(line: str) -> None:
    """Both words end it."""
    assert not obey(line, Conversation(), _no_context)


@pytest.mark.parametrize(
    ("line", "out", "err"),
    [
        ("/?", "", "Available Commands"),
        ("/help", "", "Available Commands"),
        ("/? shortcuts", "", "Ctrl + w"),
        ("/? file", "", "@path"),
        ("/? set", "", "num_ctx"),
        ("/set", "", "num_ctx"),
        ("/set bogus", "", "Unknown /set option: bogus"),
        ("/set num_ctx", "", "Usage: /set num_ctx <value>"),
        ("/set num_ctx -5", "", "Invalid value for num_ctx: -5 (must be a positive integer)"),
        ("/set num_ctx 0", "", "Invalid value for num_ctx: 0 (must be a positive integer)"),
        ("/set num_ctx ²", "", "Invalid value for num_ctx"),
        ("/set parameter temp 1", "", "Unknown parameter: temp\nAvailable parameters: num_ctx"),
        ("/bogus now", "Unknown command '/bogus'. Type /? for help", ""),
        ("/clear", "", "Cleared the conversation."),
    ],
)
def test_commands_answer_in_words(line: str, out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help and mistakes are told apart from the answers of the model."""
    stays = obey(line, Conversation(), _no_context)

    captured = capsys.readouterr()
    assert stays
    assert (bool(out), bool(err)) == (bool(captured.out), bool(captured.err))
    assert out in captured.out
    assert err in captured.err


def test_the_system_prompt_is_set_and_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    """Without text it is cleared."""
    conversation = Conversation()

    obey("/set system Be brief.", conversation, _no_context)
    assert conversation.system == "Be brief."
    obey("/set system", conversation, _no_context)

    assert conversation.system == ""
    assert capsys.readouterr().err == "Set system message.\nCleared system message.\n"


@pytest.mark.parametrize("line", ["/set num_ctx 4096", "/set parameter num_ctx 4096"])
def test_the_context_size_is_configured(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms reach the daemon."""
    sizes: list[int] = []

    obey(line, Conversation(), sizes.append)

    assert sizes == [4096]
    assert capsys.readouterr().err == "Set num_ctx to 4096\n"


def test_a_refused_context_size_keeps_the_chat(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon's reason is shown."""

    def refuse(_: int) -> None:
        raise Conflict("runner already active")

    assert obey("/set num_ctx 10", Conversation(), refuse)
    assert capsys.readouterr().err == "Failed to set num_ctx: runner already active\n"

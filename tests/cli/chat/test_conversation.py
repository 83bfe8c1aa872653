"""What a chat remembers, and how lines become messages."""

import pytest

from modelrunner.cli.chat.conversation import Composer, Conversation


def test_turns_are_sent_along_with_the_next_prompt() -> None:
    """The system prompt comes first, then the turns in order, then what is asked now."""
    conversation = Conversation()
    conversation.system = "be brief"
    conversation.add("a", "b")

    roles = [(message["role"], message["content"]) for message in conversation.with_prompt("c")]
    assert roles == [("system", "be brief"), ("user", "a"), ("assistant", "b"), ("user", "c")]


def test_clearing_forgets_the_turns_and_keeps_the_system_prompt() -> None:
    """A fresh start with the same instructions."""
    conversation = Conversation()
    conversation.system = "be brief"
    conversation.add("a", "b")
    conversation.clear()

    assert [message["content"] for message in conversation.with_prompt("c")] == ["be brief", "c"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["hello"], "hello"),
        (['"""a"""'], "a"),
        (['"""', "a", "", "b", '"""'], "a\n\nb"),
        (['"""a', 'b"""'], "a\nb"),
        (['"""', "  indented", '"""  '], "  indented"),
    ],
)
def test_triple_quotes_hold_a_message_together(lines: list[str], expected: str) -> None:
    """Line breaks and empty lines inside are kept; the quotes are not."""
    composer = Composer()

    *unfinished, message = [composer.feed(line) for line in lines]

    assert (unfinished, message) == ([None] * (len(lines) - 1), expected)
    assert not composer.is_open


def test_an_unfinished_message_can_be_dropped() -> None:
    """The next line begins anew."""
    composer = Composer()
    composer.feed('"""a')
    assert composer.is_open

    composer.discard()

    assert composer.feed("b") == "b"

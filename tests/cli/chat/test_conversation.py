"""What a chat remembers."""

from modelrunner.cli.chat.conversation import Conversation, Turn


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


def test_a_turn_can_be_taken_back() -> None:
    """As it was typed, before its files came into it."""
    conversation = Conversation()
    conversation.add([{"type": "image_url"}, {"type": "text", "text": "a"}], "b", "@a")
    conversation.add([{"type": "image_url"}, {"type": "text", "text": "c"}], "d")

    assert [conversation.take_back(), conversation.take_back(), conversation.take_back()] == [
        Turn([{"type": "image_url"}, {"type": "text", "text": "c"}], "d", "c"),
        Turn([{"type": "image_url"}, {"type": "text", "text": "a"}], "b", "@a"),
        None,
    ]

from typing import Any

import pytest

from modelrunner.recorder.asking import as_text, dialect_of, gist, read_asked


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/engines/v1/chat/completions", "openai"),
        ("/engines/llama.cpp/v1/embeddings", "openai"),
        ("/api/generate", "ollama"),
        ("/anthropic/v1/messages", "anthropic"),
        ("/v1/messages", "anthropic"),
        ("/v1/responses", "responses"),
    ],
)
def test_a_path_tells_its_dialect(path: str, dialect: str) -> None:
    assert dialect == dialect_of(path)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, "hi"),
        (
            {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]},
            "system: be brief\n\nuser: hi",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]},
         "a\n[image_url]"),
        ({"system": "brief!", "messages": [{"role": "user", "content": "hi"}]}, "system: brief!\n\nuser: hi"),
        ({"instructions": "be brief", "input": "hi"}, "system: be brief\n\nuser: hi"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}, "hi"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "assistant: f({})"),
        ({"prompt": "once upon"}, "once upon"),
        ({"input": ["one", "two"]}, "user: one\n\nuser: two"),
        ({"query": "q", "documents": ["d", {"text": "e"}]}, "query: q\n\ndocument: d\n\ndocument: e"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "42"}]}]},
            "42",
        ),
        ([1, 2], ""),
        ({"messages": "nonsense"}, ""),
        ({"messages": [1, {"content": {"a": 1}}]}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_what_is_asked_is_read_in_every_dialect_and_of_nonsense_nothing(body: Any, text: str) -> None:
    assert text == as_text(read_asked(body).messages)


def test_what_is_not_said_is_a_parameter() -> None:
    asked = read_asked({"model": "m", "messages": [], "temperature": 1, "tools": [{"x": 1}], "stream": True})

    assert {"temperature": 1, "tools": [{"x": 1}], "stream": True} == asked.parameters


def test_the_gist_is_the_beginning_of_what_the_user_said_last() -> None:
    said = read_asked({"messages": [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "second question"},
        {"role": "tool", "content": "result"},
    ]}).messages  # fmt: skip

    assert "second" == gist(said, 6)

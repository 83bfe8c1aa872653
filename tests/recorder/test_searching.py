"""What was stored is found again: by words, by what it is, one whole, summed up."""

from pathlib import Path
from typing import Any

import pytest

from modelrunner.recorder.database import open_to_read
from modelrunner.recorder.searching import latest, number_of, oldest_first, oldest_summaries, page, whole
from modelrunner.recorder.statistics import statistics
from modelrunner.recorder.values import Filter
from modelrunner.recorder.words import query
from modelrunner.recorder.writing import Writing
from tests.recorder.conftest import entry

OTHER = "sha256:" + "cd" * 32
PICTURE = "data:image/png;base64," + "A" * 400
AT = 1_800_000_000.0


def ids(file: Path, **wanted: Any) -> list[int]:
    found = page(open_to_read(file), Filter(**wanted), 50)
    return [each["id"] for each in found["requests"]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("whales", [3, 1]),
        ("WHALES", [3, 1]),
        ("blue whales", [1]),
        ('"whales are"', [3]),
        ("wha*", [3, 1]),
        ("naïve", [2]),
        ("naive", [2]),
        ("thoughtful", [2]),
        ("nothing", []),
        ("broke", [2]),
        ("AND OR NOT", []),
        ('") OR 1=1 --', []),
        ("(*", []),
    ],
)
def test_words_are_found_in_prompts_answers_thoughts_and_errors(
    writing: Writing, file: Path, words: str, found: list[int]
) -> None:
    thoughts = {"choices": [{"message": {"content": "so naïve", "reasoning_content": "thoughtful"}}]}
    writing.store([
        entry("are blue whales big"),
        entry("x", response=thoughts, error="it broke", outcome="failed"),
        entry("y", "whales are big"),
    ])  # fmt: skip

    assert found == ids(file, words=words)


def test_what_is_found_is_marked(writing: Writing, file: Path) -> None:
    writing.store([entry("are <b>whales</b> big")])

    [found] = page(open_to_read(file), Filter(words="whales"), 1)["requests"]

    assert "\u2068whales\u2069" in found["found"]


@pytest.mark.parametrize(
    ("words", "as_query"),
    [
        ("a b", ('"a" AND "b"', [])),
        ('say "a b"', ('"say" AND "a b"', [])),
        ("be*", ('"be"*', [])),
        ('un"closed', ('"un""closed"', [])),
        ("a 天气* _ b", ('"a" AND "b"', ["天气", "_"])),
        ("* - ()", (None, ["*", "-", "()"])),
        ('"" \x00', (None, [])),
    ],
)
def test_whatever_is_typed_is_words(words: str, as_query: tuple[str | None, list[str]]) -> None:
    assert as_query == query(words)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("天气", [3, 1]),
        ("天*", [3, 1]),
        ("gpt模型", [2]),
        ("ござい", [2]),
        ("고래", [4]),
        ("天气 whales", [3]),
        ("天气 🐳", [1]),
        ('"🐳 =>"', [1]),
        ("🐳 🦈", []),
        ("%", [4]),
        ("_", []),
        ("- " * 3000, []),
    ],
)
def test_what_no_spaces_set_apart_and_signs_are_found_in_the_texts(
    writing: Writing, file: Path, words: str, found: list[int]
) -> None:
    thoughts = {"choices": [{"message": {"content": "ありがとうございます", "reasoning_content": "GPT模型"}}]}
    writing.store([
        entry("今天天气很好，我们去公园", "🐳 => sea"),
        entry("x", response=thoughts),
        entry("whales", "fine", error="天气", outcome="failed"),
        entry("고래가 100%"),
    ])  # fmt: skip

    assert found == ids(file, words=words)
    assert len(found) == sum(
        each["requests"] for each in statistics(open_to_read(file), Filter(words=words), "status", {})
    )


def test_filters_have_to_fit_all(writing: Writing, file: Path) -> None:
    writing.store([
        entry(at=AT),
        entry(at=AT + 10, model_id=OTHER, model="ai/other", status=500, outcome="failed", seconds=9.0),
        entry(at=AT + 20, path="/api/chat", user_agent="curl/8", status=404, model_id="", model="ai/none"),
    ])  # fmt: skip

    assert [2] == ids(file, models=(OTHER,))
    assert [3] == ids(file, models=("ai/none",))
    assert [2] == ids(file, outcome="failed")
    assert [3] == ids(file, dialect="ollama")
    assert [3] == ids(file, caller="curl")
    assert [3, 2] == ids(file, status=(400, 599))
    assert [2] == ids(file, status=(500, 599))
    assert [3, 2] == ids(file, since=AT + 5)
    assert [1] == ids(file, until=AT + 5)
    assert [2] == ids(file, slower=5.0)
    assert [] == ids(file, slower=5.0, dialect="ollama")


def test_pages_follow_one_another_with_and_without_words(writing: Writing, file: Path) -> None:
    writing.store([entry("whales") for _ in range(7)])
    connection = open_to_read(file)

    for words in (None, "whales"):
        first = page(connection, Filter(words=words), 3)
        second = page(connection, Filter(words=words, before=first["before"]), 3)
        third = page(connection, Filter(words=words, before=second["before"]), 3)
        assert [[7, 6, 5], [4, 3, 2], [1]] == [
            [each["id"] for each in one["requests"]] for one in (first, second, third)
        ]
        assert third["before"] is None
    assert [4, 5] == [each["id"] for each in oldest_summaries(connection, Filter(after=3), 2)]


def test_one_is_given_whole_by_number_and_by_name(writing: Writing, file: Path) -> None:
    body = {
        "model": "ai/tiny",
        "top_p": 1,
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]},
        ],
    }  # fmt: skip
    writing.store([entry(body=body, request_id="mine"), entry(request_id="mine")])
    connection = open_to_read(file)

    assert 2 == number_of(connection, "mine")
    assert number_of(connection, "other") is None
    assert whole(connection, 3) is None
    found = whole(connection, 1)
    assert found is not None
    assert {"top_p": 1} == found["parameters"]
    assert ["system", "user"] == [message["role"] for message in found["messages"]]
    assert ["image/png"] == [medium["type"] for medium in found["messages"][1]["media"]]
    assert 300 == found["media"][0]["size"]
    assert [1, 2] == [each["id"] for each in oldest_first(connection, Filter())]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/generate", {"prompt": "look", "images": ["A" * 400]}),
        ("/api/generate", {"system": "be kind", "prompt": "look", "images": ["A" * 400]}),
        ("/v1/responses", {"input": ["hello", {"content": [{"type": "input_image", "image_url": PICTURE}]}]}),
    ],
    ids=["Ollama's", "with a system's words", "a response"],
)
def test_media_are_given_to_the_message_that_has_them(
    writing: Writing, file: Path, path: str, body: dict[str, Any]
) -> None:
    writing.store([entry(path=path, body=body)])

    found = whole(open_to_read(file), 1)

    assert found is not None
    *before, last = found["messages"]
    assert found["media"] == last["media"] != []
    assert not any(message["media"] for message in before)


def test_a_body_that_the_recorder_did_not_understand_is_not_understood_later(
    writing: Writing, file: Path
) -> None:
    """With more room for nested JSON than it had, what comes out could not be written again elsewhere."""
    deep = entry()
    deep.detail["readable"] = False
    writing.store([deep])

    found = whole(open_to_read(file), 1)

    assert found is not None
    assert ([], {}) == (found["messages"], found["parameters"])
    assert deep.request == found["request"]


def test_the_last_of_each_model_are_those_that_reached_an_engine(writing: Writing, file: Path) -> None:
    writing.store([entry() for _ in range(4)] + [entry(model_id=OTHER), entry(asked=None)])

    assert [3, 4, 5] == [row["id"] for row in latest(open_to_read(file), Filter(), 2)]

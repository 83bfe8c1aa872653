"""OpenCode's files: a model is lent to it, and taken back."""

import json
from pathlib import Path

import pytest

from modelrunner.cli.opencode import Files, files, lent, with_model, with_recent
from modelrunner.errors import StoreError

ADDRESS = "http://127.0.0.1:12434/v1"
MINE = {"theme": "dark", "provider": {"other": {"npm": "x"}, "dmr": {"name": "old", "models": {"a": {}}}}}


@pytest.fixture
def where(tmp_path: Path) -> Files:
    return files(tmp_path)


def test_a_model_is_put_beside_what_is_there() -> None:
    """Other providers, other models of ours and other settings stay."""
    document = with_model(MINE, ADDRESS, "ai/qwen3")

    assert document == {
        "$schema": "https://opencode.ai/config.json",
        "theme": "dark",
        "provider": {
            "other": {"npm": "x"},
            "dmr": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Docker Model Runner (local)",
                "options": {"baseURL": ADDRESS},
                "models": {"a": {}, "ai/qwen3": {"name": "ai/qwen3", "_launch": True}},
            },
        },
    }


def test_the_model_is_the_one_that_was_used_last() -> None:
    """First, once, and of ten at most."""
    ours = {"providerID": "dmr", "modelID": "m"}
    others = [{"providerID": "x", "modelID": str(number)} for number in range(12)]

    state = with_recent({"recent": [others[0], ours, *others[1:]], "variant": {"a": 1}}, "m")

    assert state == {"favorite": [], "variant": {"a": 1}, "recent": [ours, *others[:9]]}


def test_files_are_made_and_go_again(where: Files) -> None:
    """With their folders, for as long as the app runs."""
    with lent(where, ADDRESS, "m"):
        config, state = (json.loads(path.read_text()) for path in where)

    assert config["provider"]["dmr"]["models"]["m"] == {"name": "m", "_launch": True}
    assert state["recent"] == [{"providerID": "dmr", "modelID": "m"}]
    assert [False, False] == [path.exists() for path in where]


@pytest.mark.parametrize("text", [json.dumps(MINE), "{ this is no JSON", "[1, 2]", ""])
def test_files_are_as_they_were_to_the_byte(where: Files, text: str) -> None:
    """Also those that OpenCode itself could not read."""
    for path in where:
        path.parent.mkdir(parents=True)
        path.write_text(text)

    with lent(where, ADDRESS, "m"):
        assert [text, text] != [path.read_text() for path in where]

    assert [text, text] == [path.read_text() for path in where]


def test_what_the_app_wrote_meanwhile_stays(where: Files) -> None:
    """Only what is ours is taken out of it."""
    where.config.parent.mkdir(parents=True)
    where.config.write_text(json.dumps(MINE))

    with lent(where, ADDRESS, "m"):
        config, state = (json.loads(path.read_text()) for path in where)
        where.config.write_text(json.dumps({**config, "theme": "light"}))
        recent = [{"providerID": "openai", "modelID": "gpt"}, *state["recent"]]
        where.state.write_text(json.dumps({**state, "recent": recent}))

    config, state = (json.loads(path.read_text()) for path in where)
    assert config == {"$schema": "https://opencode.ai/config.json", **MINE, "theme": "light"}
    assert state["recent"] == [{"providerID": "openai", "modelID": "gpt"}]


def test_a_file_that_cannot_be_written_is_one_error(where: Files, tmp_path: Path) -> None:
    """And nothing is left half done."""
    (tmp_path / ".local").touch()

    with pytest.raises(StoreError, match="cannot be written"), lent(where, ADDRESS, "m"):
        pass

    assert not where.config.exists()


def test_a_file_with_comments_outlives_what_the_app_writes(where: Files) -> None:
    text = '{\n  // mine\n  "theme": "dark"\n}\n'
    where.config.parent.mkdir(parents=True)
    where.config.write_text(text)

    with lent(where, ADDRESS, "m"):
        where.config.write_text('{"theme": "light"}')

    assert where.config.read_text() == text

"""The commands on models: pull, push, rm, tag, inspect, purge."""

import json
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli.commands.tag import split_target
from modelrunner.errors import InvalidReference

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

ID = "sha256:" + "a" * 64


def _progress(done: int) -> dict[str, object]:
    layer = {"id": ID, "size": 1000, "current": done}
    return {"type": "progress", "message": "x", "total": 1000, "layer": layer, "mode": "pull"}


def _success(message: str) -> dict[str, object]:
    return {
        "type": "success",
        "message": message,
        "total": 0,
        "layer": {"size": 0, "current": 0},
        "mode": "pull",
    }


def test_pull_shows_progress_and_ends_with_the_success(daemon: "Daemon", dmr: "Run") -> None:
    """Plain lines where nobody watches; Compose reads them from stdout."""
    daemon.lines("/models/create", _progress(1000), _success("Model pulled successfully"))

    outcome = dmr("pull", "smollm2")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "Downloaded 1.00kB of 1.00kB\nModel pulled successfully\n"
    assert daemon.seen[0].json == {"from": "smollm2"}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("hf.co/org/repo", {"from": "hf.co/org/repo", "bearer-token": "hf_secret"}),
        ("huggingface.co/org/repo", {"from": "huggingface.co/org/repo", "bearer-token": "hf_secret"}),
        ("registry.example/hf.co/x", {"from": "registry.example/hf.co/x"}),
    ],
)
def test_the_hugging_face_token_goes_to_hugging_face_only(
    daemon: "Daemon", dmr: "Run", monkeypatch: pytest.MonkeyPatch, name: str, body: dict[str, str]
) -> None:
    """No other registry sees it."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    daemon.lines("/models/create", _success("ok"))

    dmr("pull", name)

    assert daemon.seen[0].json == body


def test_a_model_that_does_not_exist_is_told_with_the_way_out(daemon: "Daemon", dmr: "Run") -> None:
    """The daemon's own error, its hint and the exit code of its class."""
    daemon.refuses("/models/create", "model_not_found", "model not found: `x`", status=404)

    outcome = dmr("pull", "x")

    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == "error: model not found: `x`\n\nhint: do better\n"


def test_a_failure_in_the_middle_of_a_pull_ends_it(daemon: "Daemon", dmr: "Run") -> None:
    """An error line is final, and keeps its class."""
    failure = {
        "type": "error",
        "message": "Error: no space",
        "code": "insufficient_storage",
        "hint": "free some",
    }
    daemon.lines("/models/create", _progress(10), failure)

    outcome = dmr("pull", "x")

    assert outcome.code == 1
    assert outcome.err == "error: no space\n\nhint: free some\n"
    assert len(daemon.seen) == 1


def test_push_names_the_model_in_the_path(daemon: "Daemon", dmr: "Run") -> None:
    """Slashes, colons and ports stay as they are."""
    daemon.lines("/models/localhost:5000/a/b:v1/push", _success("Model pushed successfully"))

    outcome = dmr("push", "localhost:5000/a/b:v1")

    assert (outcome.code, outcome.out) == (0, "Model pushed successfully\n")


def test_rm_prints_what_was_done(daemon: "Daemon", dmr: "Run") -> None:
    """For each model in turn, up to the first failure."""
    daemon.json("DELETE", "/models/a", [{"Untagged": "ai/a:latest"}, {"Deleted": ID}])
    daemon.refuses("/models/b", "conflict", "several tags (must be forced)", method="DELETE", status=409)

    outcome = dmr("rm", "a", "b", "c")

    assert outcome.code == 1
    assert outcome.out == f"Untagged: ai/a:latest\nDeleted: {ID}\n"
    assert "must be forced" in outcome.err
    assert daemon.paths == ["DELETE /models/a", "DELETE /models/b"]


@pytest.mark.parametrize(("flags", "force"), [([], "false"), (["-f"], "true"), (["--force"], "true")])
def test_rm_passes_force_on(daemon: "Daemon", dmr: "Run", flags: list[str], force: str) -> None:
    """The daemon decides what needs it."""
    daemon.json("DELETE", "/models/a", [])

    dmr("rm", *flags, "a")

    assert daemon.seen[0].query == {"force": force}


def test_a_model_called_purge_does_not_purge(daemon: "Daemon", dmr: "Run") -> None:
    """The route that removes everything has a name that a model may have."""
    daemon.json("DELETE", "/models/purge:latest", [])

    assert dmr("rm", "purge").code == 0
    assert daemon.paths == ["DELETE /models/purge:latest"]


@pytest.mark.parametrize("command", ["rm", "inspect", "push"])
def test_an_empty_name_is_refused(daemon: "Daemon", dmr: "Run", command: str) -> None:
    """Before anything is sent."""
    assert dmr(command, "").code == 2
    assert daemon.seen == []


def test_tag_sends_repository_and_tag_apart(daemon: "Daemon", dmr: "Run") -> None:
    """What is said repeats what was typed."""
    daemon.json("POST", "/models/smollm2/tag", {"message": "", "target": ""}, status=201)

    outcome = dmr("tag", "smollm2", "localhost:5000/a/b")

    assert daemon.seen[0].query == {"repo": "localhost:5000/a/b", "tag": "latest"}
    assert outcome.out == 'Model "smollm2" tagged successfully with "localhost:5000/a/b"\n'


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("x", ("x", "latest")),
        ("x:v1", ("x", "v1")),
        ("h:5/x:v1", ("h:5/x", "v1")),
        ("h:5/x", ("h:5/x", "latest")),
    ],
)
def test_a_port_is_no_tag(target: str, expected: tuple[str, str]) -> None:
    """Only a colon after the last slash begins a tag."""
    assert expected == split_target(target)


@pytest.mark.parametrize("target", ["", "  ", f"x@{ID}"])
def test_a_digest_cannot_be_chosen(target: str) -> None:
    """A name can be given, content cannot."""
    with pytest.raises(InvalidReference):
        split_target(target)


def test_inspect_prints_the_object(daemon: "Daemon", dmr: "Run") -> None:
    """As the API gives it, indented by four."""
    daemon.json("GET", "/models/ai/x", {"id": ID, "created": 1, "config": {}})

    outcome = dmr("inspect", "ai/x")

    assert json.loads(outcome.out)["id"] == ID
    assert outcome.out.startswith('{\n    "id": ')
    assert daemon.seen[0].query == {}


@pytest.mark.parametrize(
    ("flag", "path", "query"),
    [
        ("--remote", "/models/ai/x", {"remote": "true"}),
        ("-r", "/models/ai/x", {"remote": "true"}),
        ("--openai", "/engines/v1/models/ai/x", {}),
    ],
)
def test_inspect_asks_where_it_was_told(
    daemon: "Daemon", dmr: "Run", flag: str, path: str, query: dict[str, str]
) -> None:
    """The registry, or OpenAI's view."""
    daemon.json("GET", path, {"id": ID})

    assert dmr("inspect", flag, "ai/x").code == 0
    assert daemon.seen[0].query == query


def test_inspect_cannot_do_both(dmr: "Run") -> None:
    """OpenAI's view is of what is here."""
    assert "--remote flag cannot be used with --openai flag" in dmr("inspect", "-r", "--openai", "x").err


@pytest.mark.parametrize(("answer", "purged"), [("y\n", True), ("Y\n", True), ("n\n", False), ("", False)])
def test_purge_asks_first(daemon: "Daemon", dmr: "Run", *, answer: str, purged: bool) -> None:
    """Only a yes is a yes; the end of input is a no, and no failure."""
    daemon.json("POST", "/engines/unload", {"unloaded_runners": 0})
    daemon.text("DELETE", "/models/purge", "")

    outcome = dmr("purge", stdin=answer)

    assert outcome.code == 0
    assert outcome.out.startswith("WARNING! This will remove the entire models directory.\nAre you sure")
    assert ("Operation cancelled." in outcome.out) != purged
    assert daemon.paths == (["POST /engines/unload", "DELETE /models/purge"] if purged else [])


def test_purge_can_be_forced(daemon: "Daemon", dmr: "Run") -> None:
    """Scripts do not answer questions."""
    daemon.json("POST", "/engines/unload", {"unloaded_runners": 0})
    daemon.text("DELETE", "/models/purge", "")

    outcome = dmr("purge", "-f")

    assert (outcome.code, outcome.out) == (0, "")

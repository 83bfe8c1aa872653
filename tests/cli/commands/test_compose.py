"""`compose`: the provider's protocol, by which Compose has models for a service."""

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

UP = ["compose", "--project-name=shop", "up"]
HERE = [{"id": "sha256:" + "a" * 64, "tags": ["ai/smollm2:latest"], "created": 0}]
PULLED = {"type": "success", "message": "Model pulled successfully", "total": 0, "layer": {}, "mode": "pull"}


def _told(text: str) -> list[tuple[str, str]]:
    """Read the protocol as Compose does: each line a JSON object, and nothing else."""
    messages = [json.loads(line) for line in text.splitlines()]
    return [(message["type"], message["message"]) for message in messages]


def _answers(daemon: "Daemon") -> None:
    daemon.json("GET", "/models", HERE)
    daemon.text("POST", "/engines/_configure", "", status=202)


@pytest.mark.parametrize("standalone", [True, False])
def test_metadata_describes_the_options(dmr: "Run", *, standalone: bool) -> None:
    """One object with what Compose checks: names, types, and that the model has to be given."""
    document = json.loads(dmr("compose", "metadata", standalone=standalone).out)

    parameters = {entry["name"]: entry for entry in document["up"]["parameters"]}
    assert document["down"] == {"parameters": None}
    assert [name for name, entry in parameters.items() if entry["required"]] == ["model"]
    assert {name: entry["type"] for name, entry in parameters.items()} == {
        "backend": "string",
        "context-size": "int64",
        "model": "stringArray",
        "runtime-flags": "string",
        "speculative-draft-model": "string",
        "speculative-min-acceptance-rate": "float64",
        "speculative-num-tokens": "int",
    }


def test_up_configures_and_says_where_the_model_is(daemon: "Daemon", dmr: "Run") -> None:
    """With what the project says of it, and nothing of what it does not; the same each time."""
    _answers(daemon)
    flags = ["--model=ai/smollm2", "--context-size=4096", "--runtime-flags=--temp 0", "--backend=llama.cpp"]

    first, second = dmr(*UP, *flags, "llm"), dmr(*UP, *flags, "llm")

    base = daemon.url.replace("127.0.0.1", "host.docker.internal")
    assert (first.code, first.err) == (0, "")
    assert first.out == second.out
    assert _told(first.out) == [
        ("info", "Initializing model runner..."),
        ("setenv", "MODEL=ai/smollm2"),
        ("info", "Setting context size to 4096"),
        ("info", "Setting raw runtime flags to --temp 0"),
        ("info", "Successfully configured backend for model ai/smollm2"),
        ("setenv", f"URL={base}/engines/v1/"),
    ]
    assert daemon.seen[1].json == {
        "model": "ai/smollm2",
        "context-size": 4096,
        "raw-runtime-flags": "--temp 0",
    }


@pytest.mark.parametrize(
    ("flags", "sent"),
    [
        ([], {}),
        (["--context-size=-1"], {"context-size": -1}),
        (
            ["--speculative-draft-model=d", "--speculative-num-tokens=4"],
            {"speculative": {"draft_model": "d", "num_tokens": 4}},
        ),
    ],
)
def test_what_the_project_leaves_out_is_left_out(
    daemon: "Daemon", dmr: "Run", flags: list[str], sent: dict[str, object]
) -> None:
    """A context size of -1 is one that was given."""
    _answers(daemon)

    dmr(*UP, "--model=ai/smollm2:latest", *flags, "llm")

    assert daemon.seen[1].json == {"model": "ai/smollm2:latest", **sent}


def test_what_is_not_here_is_pulled(daemon: "Daemon", dmr: "Run") -> None:
    """Its progress is messages too; several models are named in one variable."""
    _answers(daemon)
    layer = {"id": "sha256:b", "size": 2_000_000, "current": 2_000_000}
    progress = {"type": "progress", "message": "", "total": 2_000_000, "layer": layer, "mode": "pull"}
    daemon.lines("/models/create", progress, PULLED)

    outcome = dmr(*UP, "--model=ai/other", "--model=sha256:" + "a" * 64, "llm")

    told = _told(outcome.out)
    assert ("info", "Downloaded 2.00MB of 2.00MB") in told
    assert ("info", "Model pulled successfully") in told
    assert ("setenv", f"MODEL=ai/other,sha256:{'a' * 64}") in told
    assert daemon.paths.count("POST /models/create") == 1


def test_what_goes_wrong_is_a_message_too(daemon: "Daemon", dmr: "Run") -> None:
    """So that Compose shows it; the exit code says it once more."""
    daemon.json("GET", "/models", HERE)
    daemon.refuses("/engines/_configure", "unknown_flag", "no such flag: `--x`")

    outcome = dmr(*UP, "--model=ai/smollm2", "--runtime-flags=--x", "llm")

    assert outcome.code == 2
    assert _told(outcome.out)[-1] == ("error", "no such flag: `--x` (do better)")


def test_the_model_has_to_be_named(daemon: "Daemon", dmr: "Run") -> None:
    """Compose checks that from the metadata; we do as well."""
    outcome = dmr(*UP, "llm")

    assert outcome.code == 2
    assert _told(outcome.out) == [
        ("error", "options.model is required (name one below `options` of the provider)")
    ]
    assert daemon.seen == []


@pytest.mark.parametrize("size", ["-2", "2147483648", "many"])
def test_a_context_size_beyond_int32_is_refused(dmr: "Run", size: str) -> None:
    """Before anything is done."""
    assert dmr(*UP, "--model=m", f"--context-size={size}", "llm").code == 2


def test_down_leaves_the_models(daemon: "Daemon", dmr: "Run") -> None:
    """Others may use them."""
    outcome = dmr("compose", "--project-name=shop", "down", "--model=ai/smollm2", "llm")

    assert (outcome.code, outcome.out, daemon.seen) == (0, "", [])


def test_people_are_not_shown_it(dmr: "Run") -> None:
    """It is for programs."""
    assert "compose" not in dmr("--help").out.split("Commands:")[1].split()

"""`list` in its forms."""

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelrunner.cli.commands.list_ import rows
from modelrunner.wire.models import ModelView

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

SMOLLM2: dict[str, Any] = {
    "id": "sha256:354bf30d0aa3" + "0" * 52,
    "tags": ["ai/smollm2:latest"],
    "created": 1742816981,
    "config": {
        "format": "gguf",
        "quantization": "IQ2_XXS/Q4_K_M",
        "parameters": "361.82 M",
        "architecture": "llama",
        "size": "256.35 MiB",
        "gguf": {"llama.context_length": "8192"},
    },
}
BARE: dict[str, Any] = {"id": "sha256:" + "b" * 64, "created": 0, "config": None}


def _serve(daemon: "Daemon", *models: dict[str, Any]) -> None:
    daemon.json("GET", "/models", list(models))


def test_the_table_has_one_row_for_each_tag(daemon: "Daemon", dmr: "Run") -> None:
    """Models without a tag have a row too; the header is always there."""
    _serve(daemon, {**SMOLLM2, "tags": ["ai/smollm2:latest", "ai/smollm2:v1"]}, BARE)

    outcome = dmr("list")

    lines = outcome.out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["MODEL NAME", "<none>", "smollm2", "smollm2:v1"]
    assert outcome.code == 0
    assert outcome.err == ""


def test_a_row_shows_what_the_model_says_of_itself() -> None:
    """Columns as the reference has them."""
    expected = (
        "smollm2",
        "361.82 M",
        "IQ2_XXS/Q4_K_M",
        "llama",
        "354bf30d0aa3",
        "17 months ago",
        "8192",
        "256.35 MiB",
    )

    assert [expected] == rows([cast("ModelView", SMOLLM2)], now=1742816981 + 17 * 30 * 86400 + 100)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"context_size": 4096, "gguf": {"llama.context_length": "8192"}}, "4096"),
        ({"architecture": "qwen3", "gguf": {"qwen3.context_length": "40960"}}, "40960"),
        ({"gguf": {"general.architecture": "phi", "phi.context_length": "2048"}}, "2048"),
        ({}, ""),
    ],
)
def test_the_context_column_knows_every_architecture(config: dict[str, Any], expected: str) -> None:
    """What was configured wins over what the weights were trained for."""
    model = cast("ModelView", {**SMOLLM2, "config": config})

    assert expected == rows([model], now=0)[0][6]


def test_nothing_but_json_is_printed(daemon: "Daemon", dmr: "Run") -> None:
    """Compose reads both streams together; it finds a tag under each spelling."""
    _serve(daemon, SMOLLM2, BARE)

    outcome = dmr("list", "--json")

    document = json.loads(outcome.out)
    assert outcome.err == ""
    assert document[0] == {**SMOLLM2, "tags": ["ai/smollm2:latest", "ai/smollm2"]}
    assert "tags" not in document[1]
    assert outcome.out.startswith('[\n    {\n        "id": "sha256:354bf30d0aa3')


@pytest.mark.parametrize("arguments", [[], ["nothing-like-it"]])
def test_no_models_are_an_empty_list(daemon: "Daemon", dmr: "Run", arguments: list[str]) -> None:
    """Never `null`."""
    _serve(daemon, *([SMOLLM2] if arguments else []))

    assert dmr("ls", "--json", *arguments).out == "[]\n"


def test_a_filter_keeps_matching_tags_only(daemon: "Daemon", dmr: "Run") -> None:
    """Of a model with several names, those that were asked for."""
    _serve(daemon, {**SMOLLM2, "tags": ["docker.io/ai/smollm2:latest", "myorg/other:v1"]}, BARE)

    assert [line.split()[0] for line in dmr("ls", "smollm2").out.splitlines()] == ["MODEL", "smollm2"]


def test_quiet_prints_an_id_for_each_model(daemon: "Daemon", dmr: "Run") -> None:
    """Not for each tag."""
    _serve(daemon, {**SMOLLM2, "tags": ["a/b:c", "a/b:d"]}, BARE)

    assert dmr("ls", "-q").out == "354bf30d0aa3\nbbbbbbbbbbbb\n"


def test_openai_s_form_is_passed_on(daemon: "Daemon", dmr: "Run") -> None:
    """A filter works on its ids."""
    row = {"id": "ai/smollm2:latest", "object": "model", "created": 1, "owned_by": "docker"}
    daemon.json("GET", "/engines/v1/models", {"object": "list", "data": [row, {**row, "id": "ai/x:latest"}]})

    assert json.loads(dmr("ls", "--openai", "smollm2").out) == {"object": "list", "data": [row]}


def test_quiet_and_openai_exclude_each_other(dmr: "Run") -> None:
    """Told before the daemon is asked."""
    outcome = dmr("ls", "-q", "--openai")

    assert outcome.code == 2
    assert outcome.err.startswith("error: --quiet flag cannot be used with --openai flag or OpenAI backend\n")


def test_another_server_s_models_have_its_own_names(daemon: "Daemon", dmr: "Run") -> None:
    """Sorted, with nothing put in front of the filter."""
    listed = [{"id": "gpt:2", "created": 0}, {"id": "ai/gpt"}, {"id": "gpt:1", "created": 0}, {"id": "gpt2"}]
    daemon.json("GET", "/v1/models", {"object": "list", "data": listed})
    url = f"{daemon.url}/v1"

    assert dmr("list", "--openaiurl", url).out == (
        "MODEL NAME  CREATED  \nai/gpt               \ngpt2                 \ngpt:1                \n"
        "gpt:2                \n"
    )
    assert json.loads(dmr("list", "--openaiurl", url, "--json", "gpt").out) == [
        {"id": "gpt:1", "created": 0},
        {"id": "gpt:2", "created": 0},
    ]


def test_another_server_has_no_ids(dmr: "Run") -> None:
    """There is nothing for `--quiet` to print."""
    outcome = dmr("list", "-q", "--openaiurl", "http://localhost:1/v1")

    assert outcome.err.startswith("error: --quiet flag cannot be used with --openaiurl flag\n")


@pytest.mark.parametrize(
    ("command", "path", "document"),
    [
        ("ps", "/engines/ps", [{"model_name": "m", "backend_name": "b", "mode": "completion"}]),
        ("df", "/engines/df", {"models_disk_usage": 5, "default_backend_disk_usage": 0}),
    ],
)
def test_other_listings_are_json_too(
    daemon: "Daemon", dmr: "Run", command: str, path: str, document: object
) -> None:
    """As the daemon gives them."""
    daemon.json("GET", path, document)

    assert document == json.loads(dmr(command, "--json").out)


def test_versions_are_json_too(daemon: "Daemon", dmr: "Run") -> None:
    """A daemon that does not answer has none."""
    daemon.json("GET", "/version", {"version": "v9.9.9"})
    there = json.loads(dmr("version", "--json").out)
    daemon.replies.clear()
    gone = json.loads(dmr("version", "--json").out)

    assert there["Server"] == {"Version": "v9.9.9", "Engine": "Docker Engine (Manual Install)"}
    assert gone["Server"]["Version"] is None
    assert there["Client"] == gone["Client"]

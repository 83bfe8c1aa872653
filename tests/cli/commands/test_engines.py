"""The commands on what runs: ps, df, unload, configure, pin, status, version, logs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner import __version__
from modelrunner.cli.commands.configure import canonical_keep_alive
from modelrunner.cli.commands.ps import until
from modelrunner.cli.commands.status import Backend, backends
from modelrunner.wire.engines import RunningModel

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def test_ps_shows_names_without_their_defaults(daemon: "Daemon", dmr: "Run") -> None:
    """Ids by twelve digits, names in lower case."""
    model = {"backend_name": "llama.cpp", "mode": "completion", "last_used": "0001-01-01T00:00:00Z"}
    daemon.json(
        "GET",
        "/engines/ps",
        [
            {**model, "model_name": "docker.io/ai/SmolLM2:latest"},
            {**model, "model_name": "sha256:" + "c" * 64},
        ],
    )

    lines = dmr("ps").out.splitlines()

    assert lines[0].split() == ["MODEL", "NAME", "BACKEND", "MODE", "UNTIL"]
    assert lines[1].split() == ["cccccccccccc", "llama.cpp", "completion", "5", "minutes", "from", "now"]
    assert lines[2].startswith("smollm2       llama.cpp  completion  5 minutes from now")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"loading": True}, "Loading..."),
        ({"asleep": True}, "Asleep"),
        ({"keep_alive": "-1"}, "Forever"),
        ({"keep_alive": "-1m0s"}, "Forever"),
        ({"last_used": "0001-01-01T00:00:00Z"}, "5 minutes from now"),
        ({"in_use": True, "keep_alive": "1h0m0s"}, "About an hour from now"),
        ({"last_used": "2026-01-01T11:58:00.123456789Z"}, "3 minutes from now"),
        ({"last_used": "2026-01-01T13:58:00+02:00", "keep_alive": "10m0s"}, "8 minutes from now"),
        ({"last_used": "2026-01-01T11:50:00Z"}, "Expiring"),
        ({"keep_alive": "0s"}, "Expiring"),
        ({"last_used": "nonsense", "keep_alive": "nonsense"}, "5 minutes from now"),
    ],
)
def test_until_says_how_long_a_model_stays(fields: dict[str, Any], expected: str) -> None:
    """The whole keep-alive while in use or never used, else what is left of it."""
    model: RunningModel = {"backend_name": "", "model_name": "", "mode": "", "last_used": "", **fields}  # type: ignore[typeddict-item]  # the table's keys are those of the type

    assert expected == until(model, NOW)


def test_ps_shows_what_the_daemon_tells_besides(daemon: "Daemon", dmr: "Run") -> None:
    """Context and memory have columns as soon as some row has them; a pin is in the place of a time."""
    model = {"backend_name": "llama.cpp", "mode": "completion", "last_used": "", "keep_alive": "-1"}
    told = {"pinned": True, "context_size": 8192, "memory": 1_500_000_000}
    daemon.json(
        "GET",
        "/engines/ps",
        [{**model, "model_name": "a", **told}, {**model, "model_name": "b", "loading": True}],
    )

    assert (
        "MODEL NAME  BACKEND    MODE        UNTIL       CONTEXT  MEMORY  \n"
        "a           llama.cpp  completion  Pinned      8192     1.50GB  \n"
        "b           llama.cpp  completion  Loading...                   \n"
    ) == dmr("ps").out


@pytest.mark.parametrize(
    ("engines", "rows"),
    [(0, ["TYPE", "Models"]), (5, ["TYPE", "Models", "Inference engine"])],
)
def test_df_shows_the_engine_only_when_it_takes_anything(
    daemon: "Daemon", dmr: "Run", engines: int, rows: list[str]
) -> None:
    """A wheel's engine takes nothing of its own."""
    daemon.json("GET", "/engines/df", {"models_disk_usage": 12340000, "default_backend_disk_usage": engines})

    lines = dmr("df").out.splitlines()

    assert rows == [line.split("  ")[0] for line in lines]
    assert "12.34MB" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "count", "body", "expected"),
    [
        (["a", "b"], 2, {"all": False, "backend": "", "models": ["a", "b"]}, "Unloaded 2 model(s).\n"),
        (
            ["a", "--backend", "vllm"],
            0,
            {"all": False, "backend": "vllm", "models": ["a"]},
            "No such model(s) running.\n",
        ),
        (["--all"], 0, {"all": True, "backend": "", "models": None}, "No models are running.\n"),
    ],
)
def test_unload_says_how_many_went(
    daemon: "Daemon", dmr: "Run", arguments: list[str], count: int, body: object, expected: str
) -> None:
    """None is no failure."""
    daemon.json("POST", "/engines/unload", {"unloaded_runners": count})

    outcome = dmr("unload", *arguments)

    assert (outcome.code, outcome.out) == (0, expected)
    assert daemon.seen[0].json == body


@pytest.mark.parametrize(("count", "first"), [(0, ""), (1, "Unloaded 1 model(s).\n")])
def test_unload_says_what_stays(daemon: "Daemon", dmr: "Run", count: int, first: str) -> None:
    """A model that is in use does run."""
    daemon.json("POST", "/engines/unload", {"unloaded_runners": count, "in_use": 2})

    assert f"{first}2 model(s) stay, because they are in use or waited for.\n" == dmr("unload", "a").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "'dmr unload' requires MODEL unless --all is specified."),
        (["--all", "x"], "'dmr unload' does not take MODEL when --all is specified."),
    ],
)
def test_unload_needs_models_or_all(dmr: "Run", arguments: list[str], message: str) -> None:
    """Not both, not neither."""
    outcome = dmr("unload", *arguments)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([], {}),
        (["--context-size", "8192"], {"context-size": 8192}),
        (["--context-size", "-1"], {"context-size": -1}),
        (["--keep-alive", "5m"], {"keep_alive": "5m0s"}),
        (["--keep-alive=-1m"], {"keep_alive": "-1"}),
        (["--keep-alive", "0"], {"keep_alive": "0s"}),
        (["--think"], {"llamacpp": {"reasoning-budget": -1}}),
        (["--think=false"], {"llamacpp": {"reasoning-budget": 0}}),
        (["--mode", "Embedding"], {"mode": "embedding"}),
        (
            ["--speculative-draft-model", "ai/d", "--speculative-num-tokens", "0"],
            {"speculative": {"draft_model": "ai/d", "num_tokens": 0}},
        ),
        (["--speculative-min-acceptance-rate", "0.5"], {"speculative": {"min_acceptance_rate": 0.5}}),
        (["--hf_overrides", '{"a": {"b": [1]}}'], {"vllm": {"hf-overrides": {"a": {"b": [1]}}}}),
        (["--gpu-memory-utilization", "0.0"], {"vllm": {"gpu-memory-utilization": 0.0}}),
        (["--gpu-memory-utilization=1"], {"vllm": {"gpu-memory-utilization": 1.0}}),
        (["--pin", "--context-size", "1"], {"pinned": True, "context-size": 1}),
        (["--memory-check=false", "--think"], {"memory-check": False, "llamacpp": {"reasoning-budget": -1}}),
        (["--", "--temp", "0", "--verbose"], {"runtime-flags": ["--temp", "0", "--verbose"]}),
    ],
)
def test_configure_sends_what_was_given_and_no_more(
    daemon: "Daemon", dmr: "Run", arguments: list[str], body: dict[str, object]
) -> None:
    """The daemon replaces the whole, so an absent key means its default."""
    daemon.text("POST", "/engines/_configure", "", status=202)

    flags, separator, rest = arguments, [], []
    if "--" in arguments:
        flags, separator, rest = [], ["--"], arguments[1:]
    outcome = dmr("configure", *flags, "ai/x", *separator, *rest)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert daemon.seen[0].json == {"model": "ai/x", **body}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Exactly one model must be specified, got 0: []"),
        (["a", "b"], "Exactly one model must be specified, got 2: [a b]"),
        (["--", "--temp"], "Exactly one model must be specified before --, got 0: []"),
        (["a", "--keep-alive", "abc"], "invalid duration: `abc`"),
        (["a", "--context-size", "3000000000"], "invalid value for --context-size"),
        (["a", "--mode", "bogus"], "invalid value for --mode"),
        (["a", "--mode", ""], "invalid value for --mode"),
        (["a", "--gpu-memory-utilization", "1.5"], "invalid value for --gpu-memory-utilization: must be"),
        (["a", "--gpu-memory-utilization", "-0.1"], "invalid value for --gpu-memory-utilization: must be"),
        (["a", "--gpu-memory-utilization", "nan"], "invalid value for --gpu-memory-utilization: must be"),
        (["a", "--hf_overrides", "{"], "invalid --hf_overrides JSON: "),
        (["a", "--hf_overrides", "[1]"], "invalid --hf_overrides JSON: it has to be an object"),
        (["--reset"], "Exactly one model must be specified, got 0: []"),
        (["--reset", "--all", "a"], "'dmr configure --reset' does not take MODEL with --all."),
        (["--reset", "a", "--pin"], "--reset cannot be used together"),
        (["show", "--format", "xml"], "invalid value for --format"),
    ],
)
def test_configure_refuses_what_it_cannot_mean(
    daemon: "Daemon", dmr: "Run", arguments: list[str], message: str
) -> None:
    """Nothing is sent."""
    outcome = dmr("configure", *arguments)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["configure", "--merge", "--context-size", "1", "ai/x"], {"context-size": 1}),
        (["configure", "--pin", "ai/x"], {"pinned": True}),
        (["configure", "--no-pin", "--mode", "embedding", "ai/x"], {"pinned": False, "mode": "embedding"}),
        (["configure", "--memory-check=false", "ai/x"], {"memory-check": False}),
        (["pin", "ai/x"], {"pinned": True}),
        (["unpin", "ai/x"], {"pinned": False}),
    ],
)
def test_what_is_to_replace_nothing_changes_only_itself(
    daemon: "Daemon", dmr: "Run", arguments: list[str], body: dict[str, object]
) -> None:
    """By another method; what was configured before stays."""
    daemon.text("PATCH", "/engines/_configure", "", status=202)

    outcome = dmr(*arguments)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert daemon.seen[0].json == {"model": "ai/x", **body}


@pytest.mark.parametrize(
    ("method", "command"),
    [("PATCH", ["pin", "ai/x"]), ("POST", ["configure", "--context-size", "99", "ai/x"])],
)
def test_who_asks_for_what_cannot_be_is_told(
    daemon: "Daemon", dmr: "Run", method: str, command: list[str]
) -> None:
    """As a note: it holds all the same, and scripts go on."""
    refusal = {"reason": "too_large", "message": "not enough memory", "hint": "use a smaller context"}
    daemon.json(method, "/engines/_configure", {"refusal": refusal}, status=202)

    outcome = dmr(*command)

    assert (0, "") == (outcome.code, outcome.out)
    assert outcome.err == (
        "note: `ai/x` cannot be loaded as things are: not enough memory\n\nhint: use a smaller context\n"
    )


def test_several_models_are_pinned_at_once(daemon: "Daemon", dmr: "Run") -> None:
    """One request for each."""
    daemon.text("PATCH", "/engines/_configure", "", status=202)
    dmr("pin", "a", "b")

    assert [{"model": "a", "pinned": True}, {"model": "b", "pinned": True}] == [s.json for s in daemon.seen]


@pytest.mark.parametrize(
    ("arguments", "query", "count", "said"),
    [
        (["ai/x"], {"model": "ai/x"}, 1, "Forgot 1 configuration(s).\n"),
        (
            ["ai/x", "--mode", "embedding"],
            {"model": "ai/x", "mode": "embedding"},
            0,
            "Nothing was configured.\n",
        ),
        (["--all"], {"all": "true"}, 3, "Forgot 3 configuration(s).\n"),
    ],
)
def test_a_reset_says_how_much_it_forgot(
    daemon: "Daemon", dmr: "Run", arguments: list[str], query: dict[str, str], count: int, said: str
) -> None:
    """Of a model, of one of its modes, or of all."""
    daemon.json("DELETE", "/engines/_configure", {"forgotten": count})

    outcome = dmr("configure", "--reset", *arguments)

    assert (outcome.code, outcome.out, daemon.seen[0].query) == (0, said, query)


def test_configure_show_lays_out_what_is_in_force(daemon: "Daemon", dmr: "Run") -> None:
    """A row for each value, and where it comes from."""
    values = {
        "context-size": {"value": 8192, "from": "default"},
        "keep_alive": {"value": "5m0s", "from": "default"},
        "pinned": {"value": True, "from": "configured"},
        "runtime-flags": {"value": ["--temp", "0", "a b"], "from": "configured"},
        "vllm": {"value": {"hf-overrides": {"a": 1}}, "from": "configured"},
    }
    row = {"Backend": "llama.cpp", "Model": "ai/x:latest", "ModelID": "sha256:0", "Mode": "completion"}
    daemon.json("GET", "/engines/_configure", [{**row, "Config": {}, "Effective": values}])

    outcome = dmr("configure", "show", "ai/x", "--format", "table")

    assert [
        "MODEL NAME  BACKEND    MODE        OPTION         VALUE                       FROM        ",
        "x           llama.cpp  completion  context-size   8192                        default     ",
        "x           llama.cpp  completion  keep_alive     5m0s                        default     ",
        "x           llama.cpp  completion  pinned         true                        configured  ",
        "x           llama.cpp  completion  runtime-flags  --temp 0 'a b'              configured  ",
        'x           llama.cpp  completion  vllm           {"hf-overrides": {"a": 1}}  configured  ',
    ] == outcome.out.splitlines()
    assert daemon.seen[0].query == {"model": "ai/x", "effective": "true"}


def test_configure_show_of_a_daemon_that_tells_less(daemon: "Daemon", dmr: "Run") -> None:
    """What was configured is then all that is known."""
    daemon.json(
        "GET", "/engines/_configure", [{"ModelID": "sha256:" + "c" * 64, "Config": {"keep_alive": "-1"}}]
    )

    lines = dmr("configure", "show", "--format=table").out.splitlines()

    assert ["cccccccccccc", "keep_alive", "-1", "configured"] == lines[1].split()


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "Nothing is configured.\n"), (["ai/x"], "Nothing is known of `ai/x`.\n")]
)
def test_configure_show_of_nothing(daemon: "Daemon", dmr: "Run", arguments: list[str], said: str) -> None:
    """Said to the person, not to the script."""
    daemon.json("GET", "/engines/_configure", [])

    outcome = dmr("configure", "show", "--format", "table", *arguments)

    assert (outcome.code, outcome.out, outcome.err) == (0, "", said)


def test_inspect_tells_how_a_model_is_run(daemon: "Daemon", dmr: "Run") -> None:
    """In a section of its own, when the daemon says; else the document is the model's alone."""
    model = {"id": "sha256:0", "created": 0, "config": {}}
    values = {"context-size": {"value": 8192, "from": "packaged"}}
    row = {"Backend": "llama.cpp", "Mode": "completion", "Config": {}}
    daemon.json("GET", "/models/x", model)
    daemon.json("GET", "/engines/_configure", [{**row, "Effective": values}], [row])

    told = json.loads(dmr("inspect", "x").out)
    mute = json.loads(dmr("inspect", "x").out)

    runs = [{"backend": "llama.cpp", "mode": "completion", "values": values}]
    assert (told, mute) == ({**model, "configuration": runs}, model)


@pytest.mark.parametrize(("arguments", "query"), [([], {}), (["ai/x"], {"model": "ai/x"})])
def test_configure_show_prints_what_was_configured(
    daemon: "Daemon", dmr: "Run", arguments: list[str], query: dict[str, str]
) -> None:
    """Two spaces of indent here, as the reference has it."""
    daemon.json("GET", "/engines/_configure", [{"Backend": "llama.cpp", "Config": {}}])

    outcome = dmr("config", "show", *arguments)

    assert outcome.out == '[\n  {\n    "Backend": "llama.cpp",\n    "Config": {}\n  }\n]\n'
    assert daemon.seen[0].query == query


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5m", "5m0s"), ("1h30m", "1h30m0s"), ("0", "0s"), ("-1", "-1"), ("-5m", "-1"), ("300ms", "300ms")],
)
def test_keep_alive_is_sent_in_its_canonical_form(text: str, expected: str) -> None:
    """As the daemon will list it."""
    assert expected == canonical_keep_alive(text)


@pytest.mark.parametrize(("process", "suffix"), [({}, ""), ({"pid": 42}, " (process 42)")])
def test_status_lists_engines_by_state_then_name(
    daemon: "Daemon", dmr: "Run", process: dict[str, int], suffix: str
) -> None:
    """What runs comes first; details have a column of their own; the address ends it."""
    daemon.json("GET", "/models", [])
    daemon.json(
        "GET",
        "/engines/status",
        {"vllm": "Not Installed", "llama.cpp": "Running: llama.cpp b9879", "mlx": "Not Installed: no"},
    )
    daemon.json("GET", "/version", {"version": "1", **process})

    outcome = dmr("status")

    assert outcome.code == 0
    assert outcome.out == (
        "Docker Model Runner is running\n\n"
        "BACKEND    STATUS         DETAILS          \n"
        "llama.cpp  Running        llama.cpp b9879  \n"
        "mlx        Not Installed  no               \n"
        "vllm       Not Installed                   \n"
        "\n`dmr install-runner --backend NAME` installs an engine.\n"
        f"\nListening on {daemon.url}{suffix}\n"
    )
    assert daemon.seen[0].headers["User-Agent"] == f"docker-model-cli/{__version__}"


@pytest.mark.parametrize(
    ("text", "status", "details"),
    [
        ("Running: a: b", "Running", "a: b"),
        ("", "Not Installed", ""),
        ("Error: broken", "Error", "broken"),
        ("Installing", "Installing", ""),
        ("who knows: this", "Error", "who knows: this"),
    ],
)
def test_a_status_text_is_parted_once(text: str, status: str, details: str) -> None:
    """An unknown text counts as an error, and is shown whole."""
    assert [Backend("x", status, details)] == backends({"x": text})


def test_status_of_a_runner_that_is_down(daemon: "Daemon", dmr: "Run") -> None:
    """Said in words, with the way out, and a failing exit code."""
    daemon.text("GET", "/models", "unavailable", status=503)

    outcome = dmr("status")

    assert (outcome.code, outcome.out) == (1, "Docker Model Runner is not running\n")
    assert "dmr serve" in outcome.err


def test_status_as_json_is_one_line_for_compose(daemon: "Daemon", dmr: "Run") -> None:
    """The endpoint is for containers and ends with a slash."""
    daemon.json("GET", "/models", [])
    daemon.json("GET", "/engines/status", {"llama.cpp": "Running: x"})

    outcome = dmr("status", "--json")

    port = daemon.url.rpartition(":")[2]
    assert (outcome.code, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    assert json.loads(outcome.out) == {
        "running": True,
        "backends": {"llama.cpp": "Running: x"},
        "kind": "Docker Engine (Manual Install)",
        "endpoint": f"http://host.docker.internal:{port}/v1/",
        "endpointHost": f"http://127.0.0.1:{port}/v1/",
    }


def test_an_unavailable_runner_is_an_answer_in_json(daemon: "Daemon", dmr: "Run") -> None:
    """Exit code 0, because the question was answered."""
    daemon.text("GET", "/models", "unavailable", status=503)

    outcome = dmr("status", "--json")

    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["running"] is False


def test_version_shows_both_sides(daemon: "Daemon", dmr: "Run") -> None:
    """The daemon's with a `v`, however it gives it."""
    daemon.json("GET", "/version", {"version": "1.2.3"})

    out = dmr("version").out

    assert out.startswith(f"Client:\n Version:    v{__version__}\n OS/Arch:    linux/")
    assert out.endswith("\n\nServer:\n Version:    v1.2.3\n Engine:     Docker Engine (Manual Install)\n")


def test_versions_that_differ_are_told(daemon: "Daemon", dmr: "Run") -> None:
    """With what helps; the same version is no news."""
    daemon.json("GET", "/version", {"version": "1.2.3"}, {"version": __version__})

    other, same = dmr("version"), dmr("version")

    assert (other.code, same.code, same.err) == (0, 0, "")
    assert other.err.startswith("\nThe two differ: ")


def test_version_without_a_daemon_is_no_failure(dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in the daemon's place."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", "unix:///no/such/socket")

    outcome = dmr("version")

    assert outcome.code == 0
    assert " Version:    (not reachable)\n" in outcome.out


@pytest.mark.parametrize(
    ("flags", "query"),
    [
        ([], {"follow": "false", "no-engines": "false"}),
        (["-f", "--no-engines"], {"follow": "true", "no-engines": "true"}),
        (["--model", "smollm2"], {"follow": "false", "no-engines": "false", "model": "smollm2"}),
    ],
)
def test_logs_are_copied_byte_for_byte(
    daemon: "Daemon", dmr: "Run", flags: list[str], query: dict[str, str]
) -> None:
    """The flags become the query."""
    daemon.text("GET", "/logs", "[2026-01-01T00:00:00Z] hello\n")

    assert dmr("logs", *flags).out == "[2026-01-01T00:00:00Z] hello\n"
    assert daemon.seen[0].query == query


# Engines that are installed

_STATUS = {"total": 0, "layer": {"size": 0, "current": 0}, "mode": "pull"}


def test_an_engine_is_installed_with_what_happens_on_stderr(daemon: "Daemon", dmr: "Run") -> None:
    """Stdout has the two sentences that scripts wait for."""
    daemon.lines(
        "/engines/install-backend",
        {"type": "progress", "message": "making an environment", **_STATUS},
        {"type": "success", "message": "vLLM 0.32.0 is installed", **_STATUS},
    )

    outcome = dmr("install-runner", "--backend", "vllm")

    assert outcome.out.splitlines() == [
        "Installing vllm backend...",
        "vllm backend installed successfully",
    ]
    assert outcome.err.splitlines() == ["making an environment"]
    assert daemon.seen[-1].json == {"backend": "vllm"}


def test_an_installation_that_fails_ends_with_its_reason(daemon: "Daemon", dmr: "Run") -> None:
    """And without the sentence of success."""
    daemon.lines(
        "/engines/install-backend",
        {
            "type": "error",
            "message": "Error: backend installation failed: disk full",
            "code": "install_failed",
        }
        | _STATUS,
    )

    outcome = dmr("install-runner", "--backend", "vllm")

    assert outcome.code == 1
    assert "backend installation failed: disk full" in outcome.err
    assert "successfully" not in outcome.out


def test_an_engine_is_removed_and_installed_again(daemon: "Daemon", dmr: "Run") -> None:
    """`reinstall-runner` does what the other two do, in that order."""
    daemon.text("POST", "/engines/uninstall-backend", "")
    daemon.lines("/engines/install-backend", {"type": "success", "message": "done", **_STATUS})

    removed = dmr("uninstall-runner", "--backend", "vllm", standalone=False)
    again = dmr("reinstall-runner", "--backend", "vllm")

    assert removed.out == "Uninstalled vllm backend\n"
    assert again.out.splitlines()[-1] == "vllm backend installed successfully"
    assert daemon.paths == [
        "POST /engines/uninstall-backend",
        "POST /engines/uninstall-backend",
        "POST /engines/install-backend",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "install-runner",
        "reinstall-runner",
        "start-runner",
        "restart-runner",
        "stop-runner",
        "uninstall-runner",
    ],
)
def test_without_docker_there_is_no_container(
    dmr: "Run", monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """One sentence says so, and what does without."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    outcome = dmr(command)

    assert outcome.code == 1
    assert f"no Docker Engine answers at `unix://{tmp_path}/nobody.sock`" in outcome.err
    assert "`dmr serve` needs none" in outcome.err
    assert "Traceback" not in outcome.err


def test_what_belongs_to_the_container_is_not_said_of_an_engine(dmr: "Run") -> None:
    """`--images` and `--models` go with the container."""
    assert "--images and --models" in dmr("uninstall-runner", "--backend", "vllm", "--images").err

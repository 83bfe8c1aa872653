"""`launch`: apps, what they are given, and how they end."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli.apps import BUILT_IN, Bases, Use, command, environment, parse_apps
from modelrunner.errors import InvalidRequest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

APPS = {app.name: app for app in BUILT_IN}
BASES = Bases("http://172.17.0.1:12434", "http://127.0.0.1:12434")
SPEAKS = """#!/bin/sh
{ echo "$0" "$@"; env; cat "$HOME/.config/opencode/opencode.json" 2>/dev/null; } > "$HOME/told"
exit %d
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home folder, docker's folder in it, and a path with nothing but `bin` of it and the system's own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / ".docker"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


def _install(home: Path, name: str, code: int = 0) -> None:
    """Put a program there that writes down what it was given."""
    path = home / "bin" / name
    path.write_text(SPEAKS % code)
    path.chmod(0o755)


def _add(home: Path, text: str) -> None:
    (home / ".docker" / "model").mkdir(parents=True)
    (home / ".docker" / "model" / "apps.toml").write_text(text)


def test_without_an_app_there_is_a_list(dmr: "Run", home: Path) -> None:
    """Every app, padded, with the programs that are missing marked."""
    _install(home, "codex")

    outcome = dmr("launch")

    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0] == "Supported apps:"
    assert lines[3] == "  codex           Codex, a coding agent in the terminal"
    assert lines[2].endswith("in the terminal (not installed)")
    assert lines[6] == "  openwebui       Open WebUI, a chat in the browser, in a container"
    assert lines[-1] == "Usage:  dmr launch APP [-- APP ARGS]"


def test_open_webui_is_a_container() -> None:
    """The reference's command, and another image and port when they are given."""
    plain = shlex.join(command(APPS["openwebui"], Use(BASES)))
    other = shlex.join(command(APPS["openwebui"], Use(BASES, port=9000, image="my/ui:1", detach=True)))

    assert plain.startswith(
        "docker run --rm -p 3000:8080 -v openwebui_data:/app/backend/data -e OPENAI_API_BASE="
    )
    assert plain.endswith("-e WEBUI_AUTH=false ghcr.io/open-webui/open-webui:latest")
    assert "OPENAI_BASE_URL=http://172.17.0.1:12434/engines/v1 " in plain
    assert other.startswith("docker run --rm -d -p 9000:8080 ")
    assert other.endswith(" my/ui:1")


def test_a_container_is_told_where_the_machine_is() -> None:
    """On engines that do not know the name."""
    words = command(
        APPS["anythingllm"], Use(Bases("http://host.docker.internal:12434", "http://localhost:12434"))
    )

    assert words[3:5] == ["--add-host", "host.docker.internal:host-gateway"]
    assert "DOCKER_MODEL_RUNNER_BASE_PATH=http://host.docker.internal:12434" in words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "codex",
            {"OPENAI_BASE_URL": "http://127.0.0.1:12434/v1", "OPENAI_API_KEY": "sk-docker-model-runner"},
        ),
        ("opencode", {"OPENAI_API_BASE": "http://127.0.0.1:12434/engines/v1"}),
        (
            "claude",
            {
                "ANTHROPIC_BASE_URL": "http://127.0.0.1:12434/anthropic",
                "ANTHROPIC_API_KEY": "sk-docker-model-runner",
            },
        ),
    ],
)
def test_programs_get_their_variables(name: str, expected: dict[str, str]) -> None:
    """Codex goes to `/v1`, where the Responses API is."""
    assert expected.items() <= environment(APPS[name], Use(BASES)).items()


@pytest.mark.parametrize(("name", "prefix"), [("claude", "OPENAI_"), ("openclaw", "")])
def test_programs_get_no_variables_of_others(name: str, prefix: str) -> None:
    """Claude Code speaks to Anthropic's routes alone; OpenClaw reads none, and is told by its own command."""
    assert [] == [each for each in environment(APPS[name], Use(BASES)) if each.startswith(prefix)]


@pytest.mark.parametrize(
    ("name", "model", "words", "variables"),
    [
        ("codex", "ai/m", ["codex", "--model", "ai/m"], {}),
        ("claude", "ai/m", ["claude"], {"ANTHROPIC_MODEL": "ai/m", "ANTHROPIC_SMALL_FAST_MODEL": "ai/m"}),
    ],
)
def test_a_model_has_its_place(name: str, model: str, words: list[str], variables: dict[str, str]) -> None:
    """Each app has its own."""
    use = Use(BASES, model=model)

    assert words == command(APPS[name], use)
    assert variables.items() <= environment(APPS[name], use).items()


def test_config_prints_what_is_set(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """Nothing is run, and no daemon is asked."""
    outcome = dmr("launch", "OpenWebUI", "--config", "--port", "9000")

    base = daemon.url.replace("127.0.0.1", "host.docker.internal")
    assert (outcome.code, outcome.err, daemon.seen) == (0, "", [])
    assert outcome.out.startswith(
        "Configuration for openwebui (container app):\n"
        "  Image:          ghcr.io/open-webui/open-webui:latest\n"
        "  Container port: 8080\n"
        "  Host port:      9000\n"
        "  Environment:\n"
        f"    OPENAI_API_BASE={base}/engines/v1\n"
    )


def test_config_prints_the_words_that_choose_the_model(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """They are as needful as the variables to somebody who sets everything by hand."""
    _add(
        home,
        '[aider]\nprogram = "aider"\nenvironment = { OPENAI_API_BASE = "{v1}" }\n'
        'model_arguments = ["--model", "openai/{model}"]\n',
    )

    plain = dmr("launch", "aider", "--config").out
    chosen = dmr("launch", "aider", "--config", "--model", "ai/smollm2").out

    environment = f"  Environment:\n    OPENAI_API_BASE={daemon.url}/v1\n"
    assert plain == f"Configuration for aider (host app):\n{environment}"
    assert chosen == (
        f"Configuration for aider (host app):\n  Command: aider --model openai/ai/smollm2\n{environment}"
    )


def test_openclaw_is_told_what_to_set(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """It takes nothing from variables."""
    assert dmr("launch", "openclaw", "--config").out == (
        "Configuration for openclaw (host app):\n"
        f"  Base URL: {daemon.url}/engines/v1\n"
        "  API type: openai-completions\n"
        "  API key:  sk-docker-model-runner\n\n"
        f"  openclaw config set models.providers.docker-model-runner.baseUrl {daemon.url}/engines/v1\n"
        "  openclaw config set models.providers.docker-model-runner.api openai-completions\n"
        "  openclaw config set models.providers.docker-model-runner.apiKey sk-docker-model-runner\n"
    )


def test_a_dry_run_runs_nothing(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """It shows the command, and the variables of a program."""
    _install(home, "codex")

    outcome = dmr("launch", "codex", "--dry-run", "--", "exec", "do it")

    assert outcome.out.startswith(f"Would run: codex exec 'do it'\n  OPENAI_API_BASE={daemon.url}/v1\n")
    assert not (home / "told").exists()


def test_a_program_is_run_with_its_words_and_variables(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """Words after `--` are the app's."""
    daemon.json("GET", "/models", [])
    _install(home, "claude")

    outcome = dmr("launch", "claude", "--", "--continue", "x y")

    told = (home / "told").read_text()
    assert outcome.code == 0
    assert told.startswith(f"{home}/bin/claude --continue x y\n")
    assert f"\nANTHROPIC_BASE_URL={daemon.url}/anthropic\n" in told


def test_an_app_that_fails_fails_with_one(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """Whatever its own exit code is."""
    daemon.json("GET", "/models", [])
    _install(home, "codex", code=7)

    assert dmr("launch", "codex").code == 1


def test_opencode_has_the_model_while_it_runs(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """In its files, which are as they were afterwards; a model that is not here is pulled."""
    daemon.json("GET", "/models", [])
    success = {
        "type": "success",
        "message": "Model pulled successfully",
        "total": 0,
        "layer": {},
        "mode": "pull",
    }
    daemon.lines("/models/create", success)
    _install(home, "opencode")

    outcome = dmr("launch", "opencode", "--model", "ai/qwen3")

    assert outcome.out == "Model ai/qwen3 not found locally. Pulling...\nModel pulled successfully\n"
    _, _, document = (home / "told").read_text().partition("\n{")
    assert json.loads("{" + document)["provider"]["dmr"]["options"] == {"baseURL": f"{daemon.url}/v1"}
    assert not (home / ".config/opencode/opencode.json").exists()


def test_a_missing_program_is_told_with_what_it_would_need(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """So that it can be set by hand elsewhere."""
    outcome = dmr("launch", "codex")

    assert outcome.code == 1
    assert outcome.err.startswith(
        '"codex" executable not found in PATH.\nConfigure your app to use:\n'
        f"  OPENAI_API_BASE={daemon.url}/v1\n"
    )
    assert outcome.err.endswith("error: codex not found; please install it and re-run\n")


def test_a_daemon_that_is_not_there_is_told_first(
    dmr: "Run", home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than by the app, later and less clearly."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", "http://127.0.0.1:9")
    _install(home, "codex")

    assert dmr("launch", "codex").code == 5
    assert not (home / "told").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emacs"], 'unsupported app "emacs" (supported: anythingllm, claude, codex, openclaw, opencode, '),
        (["codex", "a", "b"], "unexpected arguments: a b\n\nhint: use '--' to pass arguments to the app"),
        (["codex", "a", "--", "b"], "unexpected arguments before '--': a\n"),
        (["openwebui", "--model", "m"], "`openwebui` takes no --model"),
        (["codex", "--port", "0"], "invalid value for --port"),
    ],
)
def test_what_cannot_be_launched_is_refused(
    dmr: "Run", home: Path, arguments: list[str], message: str
) -> None:
    """With what to type instead."""
    outcome = dmr("launch", *arguments)

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: {message}")


def test_a_unix_socket_is_no_address_for_apps(
    dmr: "Run", home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They speak TCP."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", "unix:///run/dmr.sock")

    assert "unable to determine standalone runner endpoint" in dmr("launch", "codex", "--config").err


def test_users_add_apps_of_their_own(daemon: "Daemon", dmr: "Run", home: Path) -> None:
    """In the form of the table; one of the same name wins."""
    _add(
        home,
        '[aider]\ndescription = "Pair programming"\nprogram = "aider"\n'
        'environment = { OPENAI_API_BASE = "{v1}" }\nmodel_arguments = ["--model", "openai/{model}"]\n'
        '[codex]\nprogram = "my-codex"\n',
    )

    assert "  aider           Pair programming (not installed)\n" in dmr("launch").out
    assert dmr("launch", "aider", "--model", "ai/m", "--dry-run").out == (
        f"Would run: aider --model openai/ai/m\n  OPENAI_API_BASE={daemon.url}/v1\n"
    )
    assert dmr("launch", "codex", "--dry-run").out == "Would run: my-codex\n"


@pytest.mark.parametrize(
    "document",
    [
        {"a": 1},
        {"a": {}},
        {"a": {"program": "x", "image": "y"}},
        {"a": {"program": 1}},
        {"a": {"program": "x", "port": 70000}},
        {"a": {"program": "x", "arguments": [1]}},
        {"a": {"program": "x", "environment": {"A": 1}}},
        {"a": {"program": "x", "colour": "red"}},
    ],
)
def test_an_app_that_cannot_be_is_refused(document: dict[str, object]) -> None:
    """With the file's name, and what an app has."""
    with pytest.raises(InvalidRequest, match=r"`apps\.toml` cannot be read: `a"):
        parse_apps(document, "apps.toml")


def test_a_file_that_is_no_toml_is_one_error(dmr: "Run", home: Path) -> None:
    """Named, and to be mended."""
    _add(home, "[")

    outcome = dmr("launch")

    assert outcome.code == 2
    assert outcome.err.startswith(f"error: `{home}/.docker/model/apps.toml` cannot be read: ")


def test_ctrl_c_belongs_to_the_app(daemon: "Daemon", home: Path) -> None:
    """We end when it ends, with its result."""
    import signal
    import subprocess
    import sys

    daemon.json("GET", "/models", [])
    program = home / "bin" / "codex"
    program.write_text(
        "#!/bin/sh\ntrap 'echo stopped; exit 0' INT\necho ready\nwhile :; do sleep 0.05; done\n"
    )
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "modelrunner", "launch", "codex"],
        env={**os.environ, "MODEL_RUNNER_HOST": daemon.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert (0, "stopped\n", "") == (process.returncode, out, err)

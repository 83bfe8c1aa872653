"""Exit codes, streams, and what a start of the command line costs."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner import __version__

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

# What a command without need of it must not pay for (architecture, "A CLI that starts in under 100 ms").
EXPENSIVE = {
    "aiohttp",
    "asyncio",
    "dataclasses",
    "email",
    "http.client",
    "importlib.metadata",
    "inspect",
    "modelrunner.models",
    "modelrunner.oci",
    "modelrunner.server",
    "modelrunner.wire.models",
    "msgspec",
    "prompt_toolkit",
    "rich",
    "shutil",
    "ssl",
    "starlette",
    "subprocess",
    "tempfile",
    "uvicorn",
}


def _modules_after(script: str, url: str = "") -> set[str]:
    """The modules that a fresh interpreter has loaded once it ran `script`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}\nimport sys; print('\\n'.join(['<modules>', *sys.modules]))"],
        env={**os.environ, "MODEL_RUNNER_HOST": url},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.partition("<modules>")[2].split())


@pytest.mark.parametrize("arguments", [["list"], ["ls", "--json"], ["status"], ["rm", "x"]])
def test_plain_commands_load_nothing_heavy(daemon: "Daemon", arguments: list[str]) -> None:
    """No third-party package, no asyncio, no dataclasses."""
    daemon.json("GET", "/models", [])
    daemon.json("GET", "/engines/status", {})
    daemon.json("GET", "/version", {"version": "1"})
    daemon.json("DELETE", "/models/x", [])
    script = f"from modelrunner.cli.main import main; assert main({arguments}, standalone=True) == 0"

    loaded = _modules_after(script, daemon.url)

    assert "modelrunner.client.exchange" in loaded
    assert set() == loaded & EXPENSIVE


def test_one_plain_answer_loads_nothing_to_draw_with(daemon: "Daemon") -> None:
    """What renders and edits is for terminals."""
    daemon.json("GET", "/models/m", {"id": "x", "created": 0, "config": None})
    daemon.says("hi")
    script = "from modelrunner.cli.main import main; assert main(['run', 'm', 'x'], standalone=True) == 0"

    loaded = _modules_after(f"import io, sys; sys.stdin = io.StringIO(); {script}", daemon.url)

    assert set() == loaded & (EXPENSIVE | {"textual"})


def test_help_does_not_load_the_client() -> None:
    """Nobody is asked, so nobody needs to be reached."""
    loaded = _modules_after("from modelrunner.cli.main import main; main(['ls', '--help'], standalone=True)")

    assert set() == loaded & (EXPENSIVE | {"modelrunner.client", "httptools", "socket"})


def test_metadata_is_answered_before_any_import() -> None:
    """docker asks for it at every step, so it costs a bare interpreter."""
    bare = _modules_after("import sys")

    script = "import sys; sys.argv = ['x', 'docker-cli-plugin-metadata']\n"
    loaded = _modules_after(script + "from modelrunner.cli.main import docker_model; docker_model()")

    assert loaded - bare == {"modelrunner", "modelrunner.cli", "modelrunner.cli.main"}


def test_metadata_is_what_docker_and_compose_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema exactly, a vendor, and a version that Compose takes for new enough."""
    from modelrunner.cli.main import docker_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["docker-model", "docker-cli-plugin-metadata"])
        assert docker_model() == 0

    document = json.loads(capsys.readouterr().out)
    assert document["SchemaVersion"] == "0.1.0"
    assert document["Vendor"]
    assert document["Version"] == f"v{__version__}"
    version = re.match(r"v(\d+)\.(\d+)\.(\d+)", document["Version"])
    assert version is not None
    assert tuple(map(int, version.groups())) >= (1, 0, 6)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_without_a_command_there_is_help(dmr: "Run", arguments: list[str]) -> None:
    """On stdout, and no failure; it lists every command."""
    outcome = dmr(*arguments)

    assert outcome.code == 0
    assert outcome.out.startswith("Usage:  dmr COMMAND\n\nDocker Model Runner\n\nCommands:\n")
    assert "  serve " in outcome.out
    assert "  configure " in outcome.out


@pytest.mark.parametrize("arguments", [["help", "pull"], ["pull", "--help"], ["pull", "-h", "x", "y"]])
def test_a_command_has_help(dmr: "Run", arguments: list[str]) -> None:
    """Whatever else is wrong with the line."""
    outcome = dmr(*arguments)

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Usage:  dmr pull MODEL\n")


@pytest.mark.parametrize(
    ("arguments", "standalone", "message"),
    [
        (["lst"], True, 'unknown command "lst" for "dmr"\n\nhint: did you mean `dmr list`?\n'),
        (["lst"], False, 'unknown command "lst" for "model"\n\nhint: did you mean `docker model list`?\n'),
        (["zzz"], True, 'unknown command "zzz" for "dmr"\n\nhint: see `dmr --help`\n'),
        (["serve"], False, 'unknown command "serve" for "model"\n\nhint: see `docker model --help`\n'),
        (["--bogus"], True, "unknown flag: --bogus\n\nSee 'dmr --help'\n"),
        (["-x", "ls"], False, "unknown shorthand flag: 'x' in -x\n\nSee 'docker model --help'\n"),
    ],
)
def test_what_is_unknown_is_named(
    dmr: "Run", arguments: list[str], *, standalone: bool, message: str
) -> None:
    """With what was probably meant."""
    outcome = dmr(*arguments, standalone=standalone)

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {message}"


def test_messages_name_the_program_that_was_called(dmr: "Run") -> None:
    """`docker model` is told about `docker model`."""
    outcome = dmr("model", "pull", standalone=False)

    assert outcome.err == (
        "error: 'docker model pull' requires 1 argument(s).\n\n"
        "Usage:  docker model pull MODEL\n\n"
        "See 'docker model pull --help' for more information\n"
    )


def test_dmr_tells_its_version(dmr: "Run") -> None:
    """As the flag, besides the command."""
    assert dmr("--version").out == f"dmr version v{__version__}\n"


def test_compose_s_name_is_passed_on(daemon: "Daemon", dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """The user agent says on whose behalf we ask."""
    monkeypatch.setenv("USER_AGENT", "compose/v5")
    daemon.json("GET", "/models", [])

    dmr("ls", standalone=False)

    assert daemon.seen[0].headers["User-Agent"] == f"docker-model-cli/{__version__} compose/v5"


def test_an_unreachable_daemon_has_an_exit_code_of_its_own(
    dmr: "Run", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts can tell it from other failures; a host that was named is never started."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", "unix:///no/such/socket")

    outcome = dmr("ls")

    assert outcome.code == 5
    assert outcome.err.startswith("error: no daemon answers at `unix:///no/such/socket`: no such file")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["__complete", "p"], ["package", "pin", "prune", "ps", "pull", "purge", "push"]),
        (["__complete", "run", ""], ["a/b:v1", "a/c:v1", "a/c:v2", "smollm2"]),
        (["__complete", "run", "sm"], ["smollm2"]),
        (["__complete", "pull", ""], []),
        (["__complete", "prune", "--"], ["--all", "--damaged", "--dry-run"]),
        (["__complete", "run", "--color", ""], ["auto", "yes", "no"]),
        (["__complete", "run", "--color", "yes", "s"], ["smollm2"]),
        (["__complete", "run", "smollm2", ""], []),
        (["__complete", "unload", "smollm2", ""], ["a/b:v1", "a/c:v1", "a/c:v2"]),
        (["__complete", "configure", "s"], ["show", "smollm2"]),
        (["__complete", "configure", "show", "s"], ["smollm2"]),
        (["__complete", "configure", "smollm2", "--", "s"], []),
        (["__complete", "logs", "--model", "a/b"], ["a/b:v1"]),
        (["__complete", "completion", ""], ["bash", "zsh", "fish", "powershell"]),
        (["__complete", "help", "pu"], ["pull", "purge", "push"]),
        (["__completeNoDesc", "pu"], ["pull", "purge", "push"]),
        (["__complete", "nonsense", ""], []),
    ],
)
def test_completion_offers_commands_and_models(
    daemon: "Daemon", dmr: "Run", words: list[str], expected: list[str]
) -> None:
    """One candidate a line, then cobra's directive against file names."""
    daemon.json("GET", "/models", [{"id": "x", "tags": ["ai/smollm2:latest", "a/b:v1", "a/c:v1", "a/c:v2"]}])

    *candidates, directive = dmr(*words, standalone=False).out.splitlines()

    assert [candidate.partition("\t")[0] for candidate in candidates] == expected
    assert directive == ":4"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["list", "a/"], ["a/b:v1", "a/c", "a/c:v1", "a/c:v2", ":6"]),
        (["package", "x"], [":0"]),
        (["package", "--gguf", ""], [":0"]),
        (["package", "--from", "a/b"], ["a/b:v1", ":4"]),
        (["prune", "--dam"], ["--damaged\tAlso damaged files that `verify` has set aside", ":4"]),
        (["pull", ""], [":4"]),
    ],
)
def test_completion_says_what_may_follow(
    daemon: "Daemon", dmr: "Run", words: list[str], lines: list[str]
) -> None:
    """A repository of several tags takes no space; where a file may stand, the shell offers files."""
    daemon.json("GET", "/models", [{"id": "x", "tags": ["a/b:v1", "a/c:v1", "a/c:v2"], "created": 0}])

    assert lines == dmr("__complete", *words).out.splitlines()


def test_completion_knows_contexts(dmr: "Run", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What can be done with them first, then their names; a store that is broken has none."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    dmr("context", "create", "lab", "--host", "http://lab:12434")

    assert dmr("__complete", "context", "").out == "create\ninspect\nls\nrm\nuse\n:4\n"
    assert dmr("__complete", "context", "use", "").out == "default\nlab\n:4\n"
    assert dmr("__complete", "context", "create", "").out == ":4\n"
    (tmp_path / "model" / "contexts.json").write_text("{")
    assert dmr("__complete", "context", "use", "").out == ":4\n"


def test_completion_without_a_daemon_is_silent(dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell is no place for error messages."""
    monkeypatch.setenv("MODEL_RUNNER_HOST", "unix:///no/such/socket")

    outcome = dmr("__complete", "run", "", standalone=False)

    assert (outcome.code, outcome.out, outcome.err) == (0, ":4\n", "")


def _start(url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modelrunner", *arguments],
        env={**os.environ, "MODEL_RUNNER_HOST": url, "PYTHONUNBUFFERED": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ctrl_c_ends_quietly_and_hangs_up(daemon: "Daemon") -> None:
    """Exit code 130, no traceback, what came stays on the screen."""
    arrived, gone = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        gone.wait(20)

    daemon.json("GET", "/models/m", {})
    daemon.says("Once", "upon", wait=wait)

    with _start(daemon.url, "run", "m", "x") as process:
        assert process.stdout is not None
        assert arrived.wait(20)
        assert process.stdout.read(4) == "Once"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    gone.set()

    assert (process.returncode, err) == (130, "")


def test_a_reader_that_leaves_is_no_error(daemon: "Daemon") -> None:
    """`dmr list | head` ends without a word."""
    models = [
        {"id": f"sha256:{number:064}", "tags": [f"a/b:v{number}"], "created": 0} for number in range(5000)
    ]
    daemon.json("GET", "/models", models)

    with _start(daemon.url, "list") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()

    assert (process.returncode, err) == (141, "")


@pytest.mark.parametrize(
    ("redirection", "reason"), [("> /dev/full", "no space left on device"), (">&-", "bad file descriptor")]
)
@pytest.mark.parametrize("command", ["list", "logs"])
def test_output_that_cannot_be_written_is_one_error(
    daemon: "Daemon", command: str, redirection: str, reason: str
) -> None:
    """A full disk, and a stdout that was closed."""
    daemon.json("GET", "/models", [])
    daemon.text("GET", "/logs", "a line\n")

    done = subprocess.run(
        ["/bin/sh", "-c", f'"$0" -m modelrunner {command} {redirection}', sys.executable],
        env={**os.environ, "MODEL_RUNNER_HOST": daemon.url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, f"error: cannot write to stdout: {reason}\n") == (done.returncode, done.stderr)


def test_a_closed_stdin_has_nothing_to_say(daemon: "Daemon") -> None:
    """The prompt on the command line is enough."""
    daemon.json("GET", "/models/m", {})
    daemon.says("hi")

    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m modelrunner run m x <&-', sys.executable],
        env={**os.environ, "MODEL_RUNNER_HOST": daemon.url},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "hi\n", "") == (done.returncode, done.stdout, done.stderr)


def test_ctrl_c_while_we_start_ends_quietly() -> None:
    """The imports take longest, so that is when it comes."""
    script = (
        "import sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'modelrunner.cli.dispatch': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from modelrunner.cli.main import main; sys.exit(main(['list'], standalone=True))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (130, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "document",
    [[1, 2], {}, [{}], [{"id": 5, "created": "x"}], [{"id": "a", "tags": 3}], [{"id": "a", "config": []}]],
)
@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [
        ("GET", "/models", ["list"]),
        ("GET", "/engines/v1/models", ["list", "--openai", "x"]),
        ("GET", "/engines/ps", ["ps"]),
        ("GET", "/engines/df", ["df"]),
        ("POST", "/engines/unload", ["unload", "--all"]),
    ],
)
def test_an_answer_of_another_shape_is_one_error(
    daemon: "Daemon", dmr: "Run", method: str, path: str, arguments: list[str], document: object
) -> None:
    """Valid JSON from some other program is told as that."""
    daemon.json(method, path, document)

    outcome = dmr(*arguments)

    assert (1, "") == (outcome.code, outcome.out)
    assert re.match(
        r"error: (`.*` does not answer like a model runner|unexpected answer from `)", outcome.err
    )
    assert "MODEL_RUNNER_HOST" in outcome.err


def test_docker_can_stop_its_plugin(daemon: "Daemon") -> None:
    """When docker closes its socket, the plug-in ends as by Ctrl-C."""
    import socket

    arrived, gone = threading.Event(), threading.Event()

    def wait() -> None:
        arrived.set()
        gone.wait(20)

    daemon.json("GET", "/models/m", {})
    daemon.says("Once", "upon", wait=wait)
    name = f"docker_cli_{os.getpid()}_{id(daemon)}"
    script = (
        "import sys; from modelrunner.cli.main import docker_model;"
        "sys.argv = ['docker-model', 'model', 'run', 'm', 'x']; sys.exit(docker_model())"
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        environ = {
            **os.environ,
            "MODEL_RUNNER_HOST": daemon.url,
            "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND": "docker",
            "DOCKER_CLI_PLUGIN_SOCKET": f"@{name}",
        }
        with subprocess.Popen(
            [sys.executable, "-c", script], env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        ) as process:
            connection, _ = listener.accept()
            assert arrived.wait(20)
            connection.close()
            assert process.wait(20) == 130
    gone.set()

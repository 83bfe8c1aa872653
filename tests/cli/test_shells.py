"""The completion scripts in real shells, which ask the real program, which asks a daemon."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelrunner.cli.shells import SHELLS, script
from modelrunner.testing.daemon import BIN

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

_PATIENCE = 10.0  # seconds
_PROMPT = "READY> "


@pytest.fixture
def environ(daemon: "Daemon", tmp_path: Path) -> dict[str, str]:
    """A home folder without anything in it, a daemon with three names, and the program on the path."""
    tags = ["ai/smollm2:latest", "team/qwen:Q4_K_M", "team/qwen:Q8_0"]
    daemon.json("GET", "/models", [{"id": "sha256:0", "tags": tags, "created": 0}])
    (tmp_path / "weights.gguf").touch()
    return {
        "HOME": str(tmp_path),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MODEL_RUNNER_HOST": daemon.url,
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PS1": _PROMPT,
    }


class Terminal:
    """A shell at a terminal: keys in, text out."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._seen = ""

    def press(self, keys: str) -> None:
        os.write(self._handle, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until a text has come; what is behind it is kept for the next question."""
        end = time.monotonic() + _PATIENCE
        while text not in self._seen:
            ready, _, _ = select.select([self._handle], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come: {self._seen!r}"
            self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._handle, 4096).decode())
        self._seen = self._seen.partition(text)[2]


@contextmanager
def _shell(command: list[str], environ: dict[str, str]) -> Iterator[Terminal]:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=environ["HOME"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        yield Terminal(leader)
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def _needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed; scripts/test-packages does that")
    return found


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("dmr insp", "dmr inspect "),
        ("dmr run smo", "dmr run smollm2 "),
        ("dmr run team/qwen:Q4", "dmr run team/qwen:Q4_K_M "),
        ("dmr rm smollm2 team/qwen:Q8", "dmr rm smollm2 team/qwen:Q8_0 "),
        ("dmr list tea", "dmr list team/qwen"),
        ("dmr run --det", "dmr run --detach "),
        ("dmr package --gguf wei", "dmr package --gguf weights.gguf "),
    ],
)
def test_bash_completes_at_the_prompt(environ: dict[str, str], typed: str, completed: str) -> None:
    """Tab is pressed in an interactive bash; colons in names are no obstacle."""
    with _shell(["bash", "--norc", "--noprofile", "-i"], environ) as terminal:
        terminal.wait_for(_PROMPT)
        terminal.press("source <(dmr completion bash); bind 'set bell-style none'; echo so-\"urced\"\n")
        terminal.wait_for("so-urced")
        terminal.wait_for(_PROMPT)
        terminal.press(f"{typed}\t")
        terminal.wait_for(completed)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("dmr run smo", "dmr run smollm2 "),
        ("dmr run team/qwen:Q4", "dmr run team/qwen:Q4_K_M "),
        ("dmr insp", "dmr inspect "),
        ("dmr package --gguf wei", "dmr package --gguf weights.gguf "),
    ],
)
def test_zsh_completes_at_the_prompt(environ: dict[str, str], typed: str, completed: str) -> None:
    """The same in an interactive zsh."""
    _needs("zsh")
    with _shell(["zsh", "-f", "-i"], environ) as terminal:
        terminal.wait_for(_PROMPT)
        load = "autoload -U compinit; compinit -u -D; source <(dmr completion zsh)"
        terminal.press(f'unsetopt zle_bracketed_paste; {load}; echo so-"urced"\n')
        terminal.wait_for("so-urced")
        terminal.wait_for(_PROMPT)
        terminal.press(f"{typed}\t")
        terminal.wait_for(completed.removeprefix(typed))


@pytest.mark.parametrize(
    ("typed", "lines"),
    [
        ("dmr run smo", ["smollm2"]),
        ("dmr run team/qwen:Q", ["team/qwen:Q4_K_M", "team/qwen:Q8_0"]),
        ("dmr insp", ["inspect\tDisplay detailed information on one model"]),
        ("dmr package --gguf wei", ["weights.gguf"]),
    ],
)
def test_fish_completes(environ: dict[str, str], typed: str, lines: list[str]) -> None:
    """With the descriptions that it shows beside the names."""
    _needs("fish")
    done = subprocess.run(
        ["fish", "--no-config", "-c", "dmr completion fish | source; complete -C $argv[1]", typed],
        env=environ,
        cwd=environ["HOME"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (lines, "") == (done.stdout.splitlines(), done.stderr)


def test_bash_completes_nothing_without_a_daemon(environ: dict[str, str]) -> None:
    """No message comes between the prompt and the typist."""
    asked = (
        "source <(dmr completion bash); COMP_LINE='dmr run smo' COMP_POINT=11; "
        'compopt() { :; }; _dmr_complete; echo "<${COMPREPLY[*]}>"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env={**environ, "MODEL_RUNNER_HOST": "unix:///no/such/socket"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("<>\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("shell", sorted(SHELLS))
def test_the_script_is_for_the_program_that_was_called(dmr: "Run", shell: str) -> None:
    """Under docker, the plug-in's file; docker completes `docker model` itself."""
    assert dmr("completion", shell).out == script(shell, "dmr")
    assert dmr("completion", shell, standalone=False).out == script(shell, "docker-model")
    assert "__completeNoDesc" in dmr("completion", "--no-descriptions", shell).out


def test_a_shell_of_another_kind_is_named(dmr: "Run") -> None:
    """With those that there are."""
    outcome = dmr("completion", "tcsh")

    assert outcome.code == 2
    assert outcome.err.startswith("error: `tcsh` is no shell of these: bash, zsh, fish, powershell\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_have_no_syntax_errors(tmp_path: Path, shell: str) -> None:
    """The shell reads them without a word."""
    path = tmp_path / "script"
    path.write_text(script(shell, "docker-model"))

    done = subprocess.run([_needs(shell), "-n", path], capture_output=True, text=True, check=False)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)

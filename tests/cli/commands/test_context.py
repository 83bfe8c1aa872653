"""`context`: named runners, kept in a file that many processes change."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run

HOST = "http://192.168.1.100:12434"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration folder, empty."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def test_what_was_created_is_listed_and_inspected(dmr: "Run", config: Path) -> None:
    """The store has the form of Docker's own client, and is nobody else's to read."""
    created = dmr("context", "create", "lab", "--host", HOST, "--description", "The lab")

    stored = config / "model" / "contexts.json"
    document = json.loads(stored.read_text())
    inspected = json.loads(dmr("context", "inspect", "lab").out)
    assert created.out == 'Context "lab" created.\n'
    assert document["version"] == 1
    assert "current" not in document
    assert document["contexts"]["lab"] | {"createdAt": ""} == {
        "host": HOST,
        "tls": {"enabled": False},
        "description": "The lab",
        "createdAt": "",
    }
    assert inspected == [{"name": "lab", **document["contexts"]["lab"]}]
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert stored.read_text().startswith('{\n    "version": 1')


def test_the_star_follows_use(dmr: "Run", monkeypatch: pytest.MonkeyPatch) -> None:
    """`default` is first, and active when nothing else is."""
    monkeypatch.delenv("MODEL_RUNNER_HOST")
    dmr("context", "create", "remote", "--host", HOST)

    before = dmr("context", "ls").out.splitlines()
    used = dmr("context", "use", "remote")
    after = dmr("context", "list").out.splitlines()
    reset = dmr("context", "use", "default")

    assert before[0].split() == ["NAME", "HOST", "DESCRIPTION", "CURRENT"]
    assert before[1].split() == ["default", "(auto-detect)", "Auto-detected", "Docker", "context", "*"]
    assert used.out == 'Current context is now "remote".\n'
    assert [line.rstrip().endswith("*") for line in after[1:3]] == [False, True]
    assert reset.code == 0
    assert dmr("context", "ls").out.splitlines() == before


def test_the_host_variable_is_said_to_override(dmr: "Run", daemon: "Daemon") -> None:
    """On stderr, with its name and value."""
    outcome = dmr("context", "ls")

    assert outcome.err == f'Warning: MODEL_RUNNER_HOST="{daemon.url}" overrides the active context.\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "lab"], "--host is required"),
        (["create", "lab", "--host", "192.168.1.100:12434"], "invalid --host URL"),
        (["create", "lab", "--host", "localhost"], "invalid --host URL"),
        (["create", "lab", "--host", "http://x:port"], "invalid --host URL"),
        (["create", "lab", "--host", "ftp://x"], 'unsupported scheme "ftp" (must be http or https)'),
        (["create", "default", "--host", HOST], 'context name "default" is reserved'),
        (["create", "a b", "--host", HOST], 'invalid context name "a b": must match'),
        (["create", "taken", "--host", HOST], 'context "taken" already exists'),
        (
            ["create", "x", "--host", HOST, "--tls-ca-cert", "/no/ca.pem"],
            '--tls-ca-cert: cannot read "/no/ca.pem"',
        ),
        (["create"], "requires 1 argument(s)"),
        (["use", "nothing"], 'context "nothing" not found'),
        (["inspect", "taken", "nothing"], 'context "nothing" not found'),
        (["rm"], "requires at least 1 argument(s)"),
        (["ls", "--host", HOST], "belong to `context create`"),
        (["frobnicate"], 'unknown command "frobnicate"'),
    ],
)
def test_what_cannot_be_is_refused(dmr: "Run", arguments: list[str], message: str) -> None:
    """With a sentence that names it."""
    dmr("context", "create", "taken", "--host", HOST)

    outcome = dmr("context", *arguments)

    assert outcome.code != 0
    assert message in outcome.err
    assert outcome.out == ""


def test_removing_goes_on_after_a_failure(dmr: "Run") -> None:
    """Each failure has its line, and the command fails."""
    for name in ("used", "old"):
        dmr("context", "create", name, "--host", HOST)
    dmr("context", "use", "used")

    outcome = dmr("context", "rm", "default", "used", "nothing", "old")

    assert outcome.code == 1
    assert outcome.out == 'Context "old" removed.\n'
    assert outcome.err.splitlines()[:3] == [
        'Error: default: context name "default" is reserved',
        'Error: used: context "used" is currently active; switch to another context first',
        'Error: nothing: context "nothing" not found',
    ]
    assert "one or more contexts could not be removed" in outcome.err


def test_default_is_inspected_though_it_is_not_stored(dmr: "Run") -> None:
    """One entry that says how it is found."""
    document = json.loads(dmr("context", "inspect", "default").out)

    assert document == [
        {
            "name": "default",
            "host": "(auto-detect)",
            "tls": {"enabled": False},
            "createdAt": "0001-01-01T00:00:00Z",
        }
    ]


def test_the_commands_go_to_the_active_context(
    dmr: "Run", daemon: "Daemon", monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dmr` too, which in the reference never does."""
    dmr("context", "create", "here", "--host", daemon.url)
    dmr("context", "use", "here")
    monkeypatch.delenv("MODEL_RUNNER_HOST")
    daemon.json("GET", "/models", [])

    assert (dmr("list").code, dmr("list", standalone=False).code) == (0, 0)
    assert daemon.paths == ["GET /models", "GET /models"]


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"contexts": {"x": {}}}', '{"current": 1}'])
def test_a_broken_store_is_named_with_what_to_do(
    dmr: "Run", config: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Nothing goes to a daemon that nobody chose; the file is left as it is."""
    monkeypatch.delenv("MODEL_RUNNER_HOST")
    stored = config / "model" / "contexts.json"
    stored.parent.mkdir()
    stored.write_text(text)

    for arguments in (["list"], ["context", "ls"], ["context", "use", "default"]):
        outcome = dmr(*arguments)
        assert outcome.code == 1
        assert f"`{stored}` cannot be read" in outcome.err
        assert "hint: mend the file, or remove it" in outcome.err
        assert "Traceback" not in outcome.err
    assert stored.read_text() == text


def test_a_context_that_is_gone_is_said_to_be(
    dmr: "Run", config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how to go on."""
    monkeypatch.delenv("MODEL_RUNNER_HOST")
    stored = config / "model" / "contexts.json"
    stored.parent.mkdir()
    stored.write_text('{"version": 1, "current": "gone", "contexts": {}}')

    outcome = dmr("list")

    assert outcome.code == 3
    assert 'context "gone" not found' in outcome.err


def test_many_processes_lose_nothing(config: Path) -> None:
    """Each change is made under a lock to what is there now."""
    script = """
import sys
from modelrunner.cli.main import main
for n in range(5):
    assert main(["context", "create", f"{sys.argv[1]}-{n}", "--host", "http://x:1"], standalone=True) == 0
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, name], stdout=subprocess.DEVNULL) for name in "abcd"
    ]

    assert [process.wait(30) for process in processes] == [0, 0, 0, 0]
    document = json.loads((config / "model" / "contexts.json").read_text())
    assert sorted(document["contexts"]) == [f"{name}-{n}" for name in "abcd" for n in range(5)]
    assert not list((config / "model").glob("*.tmp.*"))

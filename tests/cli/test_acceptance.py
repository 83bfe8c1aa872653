"""What users of Docker Model Runner count on, as tables: commands against a real daemon and registries.

The engine is the scripted one. What concerns the chat, docker's plug-in, Compose and the inspector is tested
where those are; progress and its retries in `tests/test_client.py`.
"""

import http.client
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from modelrunner.cli.command import build_parser
from modelrunner.cli.commands.configure import request as configuration
from modelrunner.cli.main import main
from modelrunner.cli.names import display_name, sort_key
from modelrunner.cli.table import COMMANDS
from modelrunner.errors import InvalidRequest
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

if TYPE_CHECKING:
    from tests.cli.conftest import Daemon, Run


class Place(NamedTuple):
    """A daemon, its default registry, which has `ai/x` and `other/y`, and another registry."""

    runner: Runner
    registry: str
    second: str
    weights: Path


class Said(NamedTuple):
    code: int
    text: str  # both streams, as Compose and the reference's tests read them


Command = Callable[..., Said]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("acceptance")
    weights = tiny_gguf(folder / "dummy.gguf")
    program = fake_llama_server(folder / "engine")
    with serving_in_thread(FakeRegistry()) as url, serving_in_thread(FakeRegistry()) as other:
        registry, second = url.removeprefix("http://"), other.removeprefix("http://")
        extra = {
            "DEFAULT_REGISTRY": registry,
            "INSECURE_REGISTRY": "true",
            "LLAMA_SERVER_PATH": str(program),
        }
        with running(folder / "home", **extra) as runner:
            for name in ("ai/x", "other/y"):
                runner.must("package", "--gguf", weights, "--push", name)
            yield Place(runner, registry, second, weights)


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command against that daemon, in this process."""
    for name, value in place.runner.environ.items():
        monkeypatch.setenv(name, value)

    def command(*words: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = main([word.replace("REG", place.registry) for word in words], standalone=True)
        captured = capsys.readouterr()
        return Said(code, captured.out + captured.err)

    return command


@pytest.fixture
def pulled(run: Command) -> str:
    """The id of `ai/x`, which is here under that one name."""
    run("purge", "--force")
    assert run("pull", "x").code == 0
    return str(json.loads(run("inspect", "x").text)["id"])


def _form(form: str, model_id: str) -> str:
    bare = model_id.removeprefix("sha256:")
    return form.replace("DIGEST", model_id).replace("HEX", bare).replace("SHORT", bare[:12])


NAMES = ["x", "x:latest", "ai/x", "ai/x:latest", "REG/ai/x", "REG/ai/x:latest"]
DIGESTS = ["x@DIGEST", "ai/x@DIGEST", "REG/ai/x@DIGEST"]
IDS = ["DIGEST", "SHORT", "HEX"]


@pytest.mark.parametrize("form", [*NAMES, *DIGESTS, *IDS])
def test_every_form_of_a_name_reaches_the_model(run: Command, pulled: str, form: str) -> None:
    """It is inspected and removed by any of them, and pulled by all but ids."""
    name = _form(form, pulled)

    assert pulled in run("inspect", name).text
    if form not in IDS:
        assert run("pull", name).code == 0
    assert run("rm", "-f", name).code == 0
    assert run("inspect", "x").code == 3


@pytest.mark.parametrize("name", ["y", "ai/y", "y:latest"])
def test_a_name_without_organisation_is_of_no_other_one(run: Command, pulled: str, name: str) -> None:
    """`y` is never `other/y` where something is done with it, neither here nor in the registry."""
    run("pull", "other/y")

    assert run("rm", name).code == 3
    assert run("push", name).code == 3
    assert run("pull", name).code != 0
    assert run("inspect", "other/y").code == 0


def test_short_ids_are_listed_a_line_each(run: Command, pulled: str) -> None:
    """Characters 7 to 19 of the id, and a newline."""
    assert run("ls", "-q").text == f"{pulled[7:19]}\n"


def test_an_id_is_the_manifest_s_digest(run: Command, pulled: str, place: Place) -> None:
    """And there is at least one tag."""
    remote = json.loads(run("inspect", "--remote", "x").text)
    here = json.loads(run("inspect", "x").text)

    assert here["id"] == remote["id"] == pulled
    assert here["tags"]


@pytest.mark.parametrize("source", [*NAMES, *DIGESTS])
def test_a_model_is_tagged_from_every_form(run: Command, pulled: str, source: str) -> None:
    """The new name leads to the same model, and the old one still does."""
    said = run("tag", _form(source, pulled), "renamed:v1")

    assert said.code == 0
    assert said.text.endswith('tagged successfully with "renamed:v1"\n')
    assert pulled in run("inspect", "renamed:v1").text
    assert pulled in run("inspect", "x").text


@pytest.mark.parametrize(
    "target",
    ["new", "new:v2", "ai/new:v3", "myorg/new:v1", "REG/ai/new:v4", "other.example:5000/org/new:v1"],
)
def test_a_model_is_tagged_to_every_form(run: Command, pulled: str, target: str) -> None:
    """Of whatever organisation and registry."""
    assert run("tag", "x", target).code == 0
    assert pulled in run("inspect", target).text


@pytest.mark.parametrize("registry", ["default", "second"])
def test_a_tagged_model_is_pushed(run: Command, pulled: str, place: Place, registry: str) -> None:
    """To the default registry, and to one that its name says."""
    name = "myorg/pushed:v1" if registry == "default" else f"{place.second}/myorg/pushed:v1"
    run("tag", "x", name)

    said = run("push", name)
    run("rm", "-f", name)

    assert (said.code, said.text.splitlines()[-1]) == (0, "Model pushed successfully")
    assert run("pull", name).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("push", "no/such"),
        ("push", ""),
        ("tag", "no/such", "a:v1"),
        *((*command, name) for command in (("rm",), ("rm", "-f")) for name in ("no/such", "", "a:b:c")),
    ],
)
def test_what_is_not_there_cannot_be_used(run: Command, words: tuple[str, ...]) -> None:
    """An error, also when it is forced."""
    said = run(*words)

    assert said.code in {2, 3}
    assert said.text.startswith("error: ")


def test_one_of_several_names_is_removed(run: Command, pulled: str) -> None:
    """The others stay, and so does the model."""
    run("tag", "x", "second:v1")

    said = run("rm", "x")

    assert said.code == 0
    assert said.text.startswith("Untagged: ")
    assert run("inspect", "x").code == 3
    assert pulled in run("inspect", "second:v1").text


def test_an_id_with_several_names_has_to_be_forced(run: Command, pulled: str) -> None:
    """Then all of them go."""
    run("tag", "x", "second:v1")

    refused, forced = run("rm", pulled), run("rm", "--force", pulled)

    assert refused.code == 1
    assert "(must be forced) due to multiple tag references" in refused.text
    assert forced.code == 0
    assert run("ls", "-q").text == ""


def test_several_are_removed_at_once(run: Command, pulled: str) -> None:
    """One after the other."""
    run("pull", "other/y")

    assert run("rm", "x", "other/y").code == 0
    assert run("ls", "--json").text == "[]\n"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ([], "ai/packaged:latest"),
        (["--context-size", "4096"], "myorg/packaged:v1"),
        (["--format", "cncf"], "ai/cncf:latest"),
    ],
)
def test_a_file_becomes_a_model(run: Command, place: Place, flags: list[str], name: str) -> None:
    """Its tags have the full form of its name."""
    said = run("package", "--gguf", str(place.weights), *flags, name)
    model = json.loads(run("inspect", name).text)

    assert said.code == 0
    assert f"{place.registry}/{name}" in model["tags"]
    assert ("--context-size" in flags) == (model["config"].get("context_size") == 4096)


def test_a_model_is_pulled_run_listed_unloaded_and_removed(run: Command, pulled: str) -> None:
    """A day's work, each step with 0, and each seen in the next."""
    assert "x" in run("ls").text
    answer = run("run", "x", "Say hi in one word.")
    assert answer.code == 0
    assert answer.text.strip()
    ps = run("ps").text
    assert "x " in ps
    assert "llama.cpp" in ps
    assert run("unload", "x").text == "Unloaded 1 model(s).\n"
    assert "llama.cpp" not in run("ps").text
    assert run("unload", "--all").text == "No models are running.\n"
    assert run("rm", "-f", "x").code == 0


def test_an_answer_goes_to_stdout_alone(place: Place, pulled: str) -> None:
    """`dmr run M P > file` has the answer and nothing else; messages are on the other stream."""
    for program in ("dmr", "docker-model"):
        outcome = place.runner.run("run", "x", "hello", program=program)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.strip()


@pytest.mark.parametrize("arguments", [("ls", "--json"), ("status", "--json")])
def test_beside_json_there_is_only_json(place: Place, pulled: str, arguments: tuple[str, str]) -> None:
    """With both streams joined, as Compose reads them."""
    outcome = place.runner.run(*arguments, program="docker-model")

    assert json.loads(outcome.out + outcome.err)


# Over HTTP, as other programs ask


def _ask(place: Place, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", place.runner.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "application/json"}],
)
def test_a_model_is_pulled_whatever_the_body_is_said_to_be(
    place: Place, pulled: str, headers: dict[str, str]
) -> None:
    """Kubernetes' charts send a form, Testcontainers nothing; what is here is not fetched again."""
    status, text = _ask(place, "POST", "/models/create", '{"from": "ai/x"}', **headers)

    assert status == 200
    assert "Using cached model" in text


@pytest.mark.parametrize(
    "path", ["/", "/status", "/engines/status", "/v1/models", "/engines/v1/models", "/models", "//v1//models"]
)
def test_well_known_paths_answer_at_once(place: Place, path: str) -> None:
    """200, and no redirect."""
    assert _ask(place, "GET", path)[0] == 200


def test_chats_are_refused_with_a_status(place: Place, pulled: str) -> None:
    """An unknown model and malformed JSON are the caller's fault, and an empty chat is no crash."""
    chat = "/engines/v1/chat/completions"

    assert _ask(place, "POST", chat, '{"model": "no/such", "messages": []}')[0] == 404
    assert _ask(place, "POST", chat, '{"model": ')[0] == 400
    assert _ask(place, "POST", chat, '{"model": "ai/x", "messages": []}')[0] < 500


# Listing and text


@pytest.mark.parametrize(
    "names",
    [
        ["<none>", "apple", "Mango", "Zebra"],
        ["qwen3", "qwen3:0.6B-F16", "qwen3:14B-Q6_K", "qwen3:4B-F16", "qwen3-coder", "qwen3-coder:30B"],
    ],
)
def test_names_are_sorted_as_people_look_for_them(names: list[str]) -> None:
    """Without case; the plain name before its variants, and all of those before the next name."""
    mixed = names[::-1]

    assert names == sorted(mixed, key=sort_key)


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("ai/gemma3:latest", "gemma3"),
        ("docker.io/ai/gemma3:latest", "gemma3"),
        ("index.docker.io/ai/gemma3", "gemma3"),
        ("ai/gemma3:v1", "gemma3:v1"),
        ("docker.io/myorg/gemma3:latest", "myorg/gemma3"),
        ("hf.co/a/b:Q4_K_S", "hf.co/a/b:Q4_K_S"),
        ("", ""),
    ],
)
def test_names_are_shown_as_people_type_them(tag: str, shown: str) -> None:
    """Without what goes without saying."""
    assert shown == display_name(tag)


# Status


def test_a_running_daemon_is_told_with_its_engines(daemon: "Daemon", dmr: "Run") -> None:
    """What runs comes first; requests name the client."""
    daemon.json("GET", "/models", [])
    daemon.json("GET", "/engines/status", {"vllm": "Not Installed", "llama.cpp": "Running: llama.cpp b9879"})
    daemon.json("GET", "/version", {"version": "v1"})

    outcome = dmr("status")

    assert outcome.code == 0
    assert outcome.out.startswith(
        "Docker Model Runner is running\n\n"
        "BACKEND    STATUS         DETAILS          \n"
        "llama.cpp  Running        llama.cpp b9879  \n"
        "vllm       Not Installed                   \n"
    )
    assert daemon.seen[0].headers["User-Agent"].startswith("docker-model-cli/")
    assert {"GET /models", "GET /engines/status"} <= set(daemon.paths)


@pytest.mark.parametrize(
    ("status", "code", "out"), [(503, 1, "Docker Model Runner is not running\n"), (500, 1, "")]
)
def test_a_daemon_in_trouble_is_told(daemon: "Daemon", dmr: "Run", status: int, code: int, out: str) -> None:
    """One that is not available is not running; any other failure is an error."""
    daemon.text("GET", "/models", "trouble", status=status)

    outcome = dmr("status")

    assert (code, out) == (outcome.code, outcome.out)
    assert "trouble" in outcome.err


def test_status_json_has_both_addresses(daemon: "Daemon", dmr: "Run") -> None:
    """That for containers does not name their own loopback."""
    daemon.json("GET", "/models", [])
    daemon.json("GET", "/engines/status", {"llama.cpp": "Running"})

    document = json.loads(dmr("status", "--json").out)

    port = daemon.url.rpartition(":")[2]
    assert document == {
        "running": True,
        "backends": {"llama.cpp": "Running"},
        "kind": "Docker Engine (Manual Install)",
        "endpoint": f"http://host.docker.internal:{port}/v1/",
        "endpointHost": f"{daemon.url}/v1/",
    }


# Configure


def _configured(*arguments: str) -> dict[str, object]:
    args = build_parser("configure", COMMANDS["configure"], "dmr").read([*arguments, "m"])
    return {key: value for key, value in configuration("m", args).items() if key != "model"}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ((), {}),
        (("--context-size", "8192"), {"context-size": 8192}),
        (("--context-size", "-1"), {"context-size": -1}),
        (("--think",), {"llamacpp": {"reasoning-budget": -1}}),
        (("--think=false",), {"llamacpp": {"reasoning-budget": 0}}),
        (("--gpu-memory-utilization", "0.0"), {"vllm": {"gpu-memory-utilization": 0.0}}),
        (("--gpu-memory-utilization", "1.0"), {"vllm": {"gpu-memory-utilization": 1.0}}),
        (("--keep-alive", "5m"), {"keep_alive": "5m0s"}),
        (("--keep-alive", "0"), {"keep_alive": "0s"}),
        (("--keep-alive", "-1"), {"keep_alive": "-1"}),
        (("--keep-alive", "-1m"), {"keep_alive": "-1"}),
        (("--mode", "Embedding"), {"mode": "embedding"}),
        (("--mode", "IMAGE-generation"), {"mode": "image-generation"}),
        (("--hf_overrides", '{"a": {"b": 1}}'), {"vllm": {"hf-overrides": {"a": {"b": 1}}}}),
        (
            ("--speculative-draft-model", "d", "--speculative-num-tokens", "5"),
            {"speculative": {"draft_model": "d", "num_tokens": 5}},
        ),
    ],
)
def test_only_what_is_given_is_sent(arguments: tuple[str, ...], sent: dict[str, object]) -> None:
    """In the words of the API."""
    assert sent == _configured(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--gpu-memory-utilization", "-0.1"),
        ("--gpu-memory-utilization", "1.5"),
        ("--keep-alive", "abc"),
        ("--mode", ""),
        ("--mode", "poetry"),
        ("--context-size", "2147483648"),
        ("--hf_overrides", "[1]"),
        ("--hf_overrides", "{"),
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments: tuple[str, ...]) -> None:
    """Before the daemon is asked."""
    with pytest.raises(InvalidRequest):
        _configured(*arguments)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--grammar", "/etc/passwd"], "paths are not allowed"),
        (["--grammar", "./x.gbnf"], "paths are not allowed"),
        (["--grammar", "http://x/y"], "paths are not allowed"),
        (["--no-such-flag"], "is not allowed for backend"),
    ],
)
def test_a_runtime_flag_that_means_harm_is_refused(
    run: Command, pulled: str, flags: list[str], message: str
) -> None:
    """It is sent as it was typed; the daemon says no, and why."""
    said = run("configure", "x", "--", *flags)

    assert said.code != 0
    assert message in said.text


def test_harmless_runtime_flags_are_taken(run: Command, pulled: str) -> None:
    """And shown again."""
    assert run("configure", "x", "--", "--verbose", "--threads", "4") == Said(0, "")
    shown = json.loads(run("configure", "show", "x").text)
    assert shown[0]["Config"]["runtime-flags"] == ["--verbose", "--threads", "4"]
    run("configure", "--reset", "x")


# The program itself


@pytest.mark.parametrize(
    ("answer", "gone"), [("y\n", True), ("Y\n", True), ("n\n", False), ("yes\n", False), ("", False)]
)
def test_everything_is_removed_only_after_a_yes(
    run: Command, pulled: str, answer: str, *, gone: bool
) -> None:
    """An input that ends is a no, and no failure."""
    said = run("purge", stdin=answer)

    assert said.code == 0
    assert said.text.startswith(
        "WARNING! This will remove the entire models directory.\nAre you sure you want to continue? [y/N] "
    )
    assert ("Operation cancelled." in said.text) != gone
    assert (run("ls", "-q").text == "") == gone


def test_dmr_is_the_daemon_too() -> None:
    """`serve` belongs to it alone; all that the reference has is there."""
    wanted = {
        *("bench", "configure", "df", "inspect", "launch", "list", "logs", "package", "ps", "pull", "purge"),
        *("push", "rm", "run", "search", "serve", "show", "skills", "status", "tag", "unload", "version"),
        "completion",
    }

    assert wanted <= set(COMMANDS)
    assert [name for name, entry in COMMANDS.items() if entry.standalone and name == "serve"] == ["serve"]


FLAGS = {
    "bench": ("--prompt", "--duration", "--concurrency", "--timeout", "--json"),
    "configure": (
        *("--context-size", "--speculative-draft-model", "--speculative-num-tokens", "--think", "--mode"),
        *("--speculative-min-acceptance-rate", "--hf_overrides", "--gpu-memory-utilization", "--keep-alive"),
    ),
    "inspect": ("--openai", "-r", "--remote"),
    "launch": ("--port", "--image", "--detach", "--dry-run", "--config", "--model"),
    "list": ("--json", "--openai", "-q", "--quiet", "--openaiurl"),
    "logs": ("-f", "--follow", "--no-engines"),
    "package": (
        *(
            "--gguf",
            "--safetensors-dir",
            "--dduf",
            "--from",
            "--chat-template",
            "--mmproj",
            "-l",
            "--license",
        ),
        *("--context-size", "--push", "--format"),
    ),
    "purge": ("-f", "--force"),
    "requests": ("-f", "--follow", "--include-existing", "--model"),
    "rm": ("-f", "--force"),
    "run": ("--color", "--debug", "-d", "--detach", "--openaiurl", "--websearch"),
    "search": ("-n", "--limit", "--source", "--json"),
    "serve": ("--port", "--socket", "--models-path"),
    "show": ("-r", "--remote"),
    "skills": ("--codex", "--claude", "--opencode", "--dest", "-f", "--force"),
    "status": ("--json",),
    "unload": ("--all", "--backend"),
}


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_of_the_reference_is_there(name: str) -> None:
    """Under the same name, and explained."""
    known = {
        flag for flags, about in build_parser(name, COMMANDS[name], "dmr").flags() if about for flag in flags
    }

    assert set() == set(FLAGS[name]) - known


@pytest.mark.parametrize(
    ("flags", "given"),
    [([], False), (["-q"], True), (["--quiet"], True), (["--quiet=true"], True), (["--quiet=false"], False)],
)
def test_switches_take_a_value_too(flags: list[str], *, given: bool) -> None:
    """As the reference's do."""
    assert build_parser("list", COMMANDS["list"], "dmr").read(flags).quiet is given


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pull", [], "'dmr pull' requires 1 argument(s)."),
        ("tag", ["a"], "'dmr tag' requires 2 argument(s)."),
        ("rm", [], "'dmr rm' requires at least 1 argument(s)."),
        ("unload", [], "'dmr unload' requires MODEL unless --all is specified."),
        ("unload", ["--all", "m"], "'dmr unload' does not take MODEL when --all is specified."),
        ("configure", ["a", "b"], "Exactly one model must be specified, got 2"),
        ("configure", ["a", "b", "--", "-x"], "Exactly one model must be specified before --, got 2"),
        ("inspect", ["-r", "--openai", "m"], "--remote flag cannot be used with --openai flag"),
        ("package", ["m"], "One of "),
        ("package", ["--gguf", "/a", "--dduf", "/b", "m"], "Cannot specify more than one of "),
        ("package", ["--gguf", "/a", "--format", "tar", "m"], 'invalid --format value "tar": must be'),
        ("search", ["--source", "x"], 'unknown source "x": valid options are'),
        ("skills", [], "no target specified. Use --codex, --claude, --opencode, or --dest"),
        ("launch", ["x"], 'unsupported app "x" (supported: anythingllm, claude, codex, openclaw, opencode, '),
    ],
)
def test_a_wrong_command_line_is_told_in_the_reference_s_words(
    dmr: "Run", name: str, arguments: list[str], message: str
) -> None:
    """On stderr, with nothing on stdout."""
    outcome = dmr(name, *arguments)

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {message}")

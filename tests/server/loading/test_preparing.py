"""What a start is made of besides the model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

CHAT = "/engines/v1/chat/completions"
CONFIGURE = "/engines/_configure"


def command_lines(daemon: "Daemon") -> list[list[str]]:
    """Those of the engines that run."""
    found = []
    for _, instance in daemon.services.pool.running():
        with open(f"/proc/{instance.pid}/cmdline", "rb") as file:  # noqa: PTH123 - a look at memory
            found.append(file.read().decode().split("\0"))
    return found


async def speculate(daemon: "Daemon", draft: str, **more: object) -> int:
    """Configure a draft model for `ai/tiny`, and chat with it."""
    request = {"model": "ai/tiny", "speculative": {"draft_model": draft, **more}}
    answer = await daemon.ask("POST", CONFIGURE, json=request)
    assert answer.status == 202, answer.text
    return (await daemon.ask("POST", CHAT, json=daemon.chat())).status


async def test_a_draft_model_is_laid_out_and_passed_on(tiny: "Daemon") -> None:
    """By the path of its weights, with how it is to guess."""
    draft = await tiny.add("docker.io/ai/draft:latest", title="draft")
    status = await speculate(tiny, "ai/draft", num_tokens=8, min_acceptance_rate=0.5)

    [line] = command_lines(tiny)
    path = line[line.index("--model-draft") + 1]
    assert status == 200
    assert draft.hex in path
    assert line[line.index("--model-draft") + 2 :][:4] == [
        "--spec-draft-n-max",
        "8",
        "--spec-draft-p-min",
        "0.50",
    ]


async def test_another_draft_model_is_another_start(tiny: "Daemon") -> None:
    """The instance that guesses with the old one goes."""
    await tiny.add("docker.io/ai/one:latest", title="one")
    other = await tiny.add("docker.io/ai/two:latest", title="two")
    await speculate(tiny, "ai/one")
    await speculate(tiny, "ai/two")

    [line] = command_lines(tiny)
    assert other.hex in line[line.index("--model-draft") + 1]


async def test_a_draft_model_that_is_not_here_is_named(tiny: "Daemon") -> None:
    """The request fails with what is missing, and how it would come here."""
    await tiny.ask("POST", CONFIGURE, json={"model": "ai/tiny", "speculative": {"draft_model": "ai/absent"}})
    answer = await tiny.ask("POST", CHAT, json=tiny.chat())

    assert answer.status == 404
    assert "failed to get draft model: model not found: `ai/absent`" in answer.json["error"]["message"]


async def test_an_engine_has_a_private_folder_for_states(tiny: "Daemon") -> None:
    """One for its model and configuration, that nobody else can open."""
    await tiny.ask("POST", CHAT, json=tiny.chat())

    [line] = command_lines(tiny)
    folder = tiny.folder / ".local/state/modelrunner/prompts"
    [model] = folder.iterdir()
    assert line[line.index("--slot-save-path") + 1].startswith(f"{model}/")
    assert model.stat().st_mode & 0o077 == 0


async def test_states_go_with_their_model(tiny: "Daemon") -> None:
    """Nothing of what was computed for it stays when it is removed."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    await tiny.ask("DELETE", "/models/ai/tiny?force=true")

    assert list((tiny.folder / ".local/state/modelrunner/prompts").iterdir()) == []


async def test_no_states_are_kept_when_that_is_turned_off(make_daemon: "Make") -> None:
    """The engine is not even asked to be able to."""
    daemon = await make_daemon(DMR_PROMPT_CACHE="0")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat())

    [line] = command_lines(daemon)
    assert "--slot-save-path" not in line
    assert not (daemon.folder / ".local/state/modelrunner/prompts").exists()


async def test_the_pool_knows_how_many_requests_an_engine_serves_at_once(tiny: "Daemon") -> None:
    """As many as the engine's plug-in says for these options."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    usual = [instance.slots for _, instance in tiny.services.pool.running()]
    request = {"model": "ai/tiny", "runtime-flags": ["--parallel", "2"]}
    await tiny.ask("POST", CONFIGURE, json=request)
    await tiny.ask("POST", CHAT, json=tiny.chat())
    configured = [instance.slots for _, instance in tiny.services.pool.running()]

    assert (usual, configured) == ([4], [2])

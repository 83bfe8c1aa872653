"""`/engines`: status, what is loaded, and unloading."""

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

CHAT = "/engines/v1/chat/completions"


# Status


async def test_the_status_says_that_there_is_no_sandbox(make_daemon: "Make") -> None:
    """And why; only of engines that can be used, and nothing at all where there is one."""
    off = await make_daemon(DMR_SANDBOX="off")
    on = await make_daemon()
    answer = await off.ask("GET", "/engines/status")
    usual = await on.ask("GET", "/engines/status")

    assert answer.json["llama.cpp"].endswith("; no sandbox: it is turned off by DMR_SANDBOX")
    assert ("no sandbox" in usual.json["llama.cpp"]) == (on.services.sandbox.caveat is not None)


async def test_the_status_names_each_engine(daemon: "Daemon") -> None:
    """A type that clients know, and details after a colon."""
    answer = await daemon.ask("GET", "/engines/status")

    assert {"llama.cpp", "vllm", "sglang", "mlx", "diffusers", "whisper", "piper"} == set(answer.json)
    assert answer.json["llama.cpp"].startswith("Running: ")
    assert answer.json["vllm"] == "Not Installed: binary not found"


async def test_a_missing_engine_is_an_error_in_the_status(make_daemon: "Make") -> None:
    """It does not claim to run."""
    daemon = await make_daemon(LLAMA_SERVER_PATH="/absent/llama-server")

    assert (await daemon.ask("GET", "/engines/status")).json["llama.cpp"].startswith("Error: ")


async def test_disk_usage_counts_the_store(tiny: "Daemon") -> None:
    """A model that is laid out for its engine is not counted twice."""
    before = (await tiny.ask("GET", "/engines/df")).json
    await tiny.ask("POST", CHAT, json=tiny.chat())
    after = (await tiny.ask("GET", "/engines/df")).json

    assert {"models_disk_usage", "default_backend_disk_usage"} == set(before)
    assert before["models_disk_usage"] > 400
    assert after["models_disk_usage"] - before["models_disk_usage"] < 2000


# What is loaded


async def test_nothing_loaded_is_an_empty_list(tiny: "Daemon") -> None:
    """Looking loads nothing."""
    assert [] == (await tiny.ask("GET", "/engines/ps")).json


async def test_an_idle_model_shows_when_it_was_used(tiny: "Daemon") -> None:
    """Engine, name, mode and a time; neither in use nor loading."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    [row] = (await tiny.ask("GET", "/engines/ps")).json

    assert ("llama.cpp", "ai/tiny:latest", "completion") == (
        row["backend_name"],
        row["model_name"],
        row["mode"],
    )
    assert datetime.fromisoformat(row["last_used"]).year > 2020
    assert not {"in_use", "loading"} & set(row)
    assert row["keep_alive"] == "5m0s"


async def test_a_model_in_use_says_so(tiny: "Daemon") -> None:
    """Its last use is not over, which is printed as no time."""
    async with tiny.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        [row] = (await tiny.ask("GET", "/engines/ps")).json

    assert (True, "0001-01-01T00:00:00Z") == (row["in_use"], row["last_used"])
    assert (1, 0) == (row["requests"], row["waiting"])


async def test_a_loading_model_says_so(make_daemon: "Make") -> None:
    """It is listed from the moment it is asked for, and not unloaded while somebody waits for it."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: bool(daemon.residents))
    [row] = (await daemon.ask("GET", "/engines/ps")).json
    unloaded = await daemon.ask("POST", "/engines/unload", json={"models": ["tiny"]})
    request.cancel()

    assert {"unloaded_runners": 0, "in_use": 1} == unloaded.json
    assert (True, "ai/tiny:latest") == (row["loading"], row["model_name"])
    assert (0, 1) == (row["requests"], row["waiting"])


async def test_an_idle_model_goes_by_itself(make_daemon: "Make") -> None:
    """After the keep-alive of the settings."""
    daemon = await make_daemon(DMR_KEEP_ALIVE="50ms")
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat())
    await daemon.until(lambda: not daemon.residents)

    assert [] == (await daemon.ask("GET", "/engines/ps")).json


# Unloading


@pytest.mark.parametrize(
    ("request_", "gone"),
    [
        ({"all": True}, 1),
        ({"models": ["ai/tiny"]}, 1),
        ({"models": ["tiny"], "backend": "llama.cpp"}, 1),
        ({"models": ["ai/tiny"], "backend": "vllm"}, 0),
        ({"models": ["ai/absent"]}, 0),
        ({"models": None}, 0),
        ({}, 0),
    ],
)
async def test_idle_models_are_unloaded(tiny: "Daemon", request_: dict[str, object], gone: int) -> None:
    """By name, by engine or all; the reply says how many, when they are gone."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    answer = await tiny.ask("POST", "/engines/unload", json=request_)

    assert (200, {"unloaded_runners": gone}) == (answer.status, answer.json)
    assert 1 - gone == len(tiny.residents)


async def test_a_model_in_use_is_not_unloaded(tiny: "Daemon") -> None:
    """The reply says that it stays, and its answer goes on."""
    async with tiny.stream(text="one two", fake={"tokens": 40, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"one")
        answer = await tiny.ask("POST", "/engines/unload", json={"all": True})
        rest = await reply.read()

    assert {"unloaded_runners": 0, "in_use": 1} == answer.json
    assert rest.endswith(b"[DONE]\n\n")

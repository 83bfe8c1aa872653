"""`/engines`: status, what is loaded, unloading and configuring."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

CHAT = "/engines/v1/chat/completions"
CONFIGURE = "/engines/_configure"


async def configure(daemon: "Daemon", request: Mapping[str, object], *, path: str = CONFIGURE) -> "Answer":
    return await daemon.ask("POST", path, json={"model": "ai/tiny", **request})


async def arguments(daemon: "Daemon", mode: str = "completion") -> list[str]:
    """The command line of the one engine that runs in a mode."""
    for key, instance in daemon.services.pool.running():
        if key.mode == mode:
            with open(f"/proc/{instance.pid}/cmdline", "rb") as file:  # noqa: ASYNC230, PTH123 - a look at memory
                return file.read().decode().split("\0")
    raise AssertionError(mode)


async def loaded(daemon: "Daemon") -> None:
    """Wait until the one that loads is ready."""
    await daemon.until(lambda: any(not resident.loading for resident in daemon.residents))


# Status


async def test_the_status_names_each_engine(daemon: "Daemon") -> None:
    """A type that clients know, and details after a colon."""
    answer = await daemon.ask("GET", "/engines/status")

    assert {"llama.cpp"} == set(answer.json)
    assert answer.json["llama.cpp"].startswith("Running: ")


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


async def test_a_loading_model_says_so(make_daemon: "Make") -> None:
    """It is listed from the moment it is asked for."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: bool(daemon.residents))
    [row] = (await daemon.ask("GET", "/engines/ps")).json
    request.cancel()

    assert (True, "ai/tiny:latest") == (row["loading"], row["model_name"])


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
    """It is not counted either, and its answer goes on."""
    async with tiny.stream(text="one two", fake={"tokens": 40, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"one")
        answer = await tiny.ask("POST", "/engines/unload", json={"all": True})
        rest = await reply.read()

    assert {"unloaded_runners": 0} == answer.json
    assert rest.endswith(b"[DONE]\n\n")


async def test_unloading_forgets_the_configuration(tiny: "Daemon") -> None:
    """By name, without naming the engine, too."""
    await configure(tiny, {"context-size": 512})
    await loaded(tiny)
    await tiny.ask("POST", "/engines/unload", json={"models": ["ai/tiny"]})

    assert [] == (await tiny.ask("GET", CONFIGURE)).json


# Configuring


async def test_a_configuration_is_used_at_the_next_load(tiny: "Daemon") -> None:
    """202 at once; then the model is loaded in the background with it."""
    answer = await configure(
        tiny, {"context-size": 512, "runtime-flags": ["--temp", "0.7"], "keep_alive": "10m"}
    )
    await loaded(tiny)
    argv = await arguments(tiny)

    assert (202, "") == (answer.status, answer.text)
    assert "512" == argv[argv.index("--ctx-size") + 1]
    assert "0.7" == argv[argv.index("--temp") + 1]
    assert "10m0s" == (await tiny.ask("GET", "/engines/ps")).json[0]["keep_alive"]


async def test_configurations_are_listed_as_clients_read_them(tiny: "Daemon") -> None:
    """Capitalised keys, the names of the request inside, and only what was set."""
    await configure(tiny, {"context-size": 512}, path="/engines/llama.cpp/_configure")
    [row] = (await tiny.ask("GET", CONFIGURE)).json

    assert row["ModelID"].startswith("sha256:")
    del row["ModelID"]
    assert {
        "Backend": "llama.cpp",
        "Model": "ai/tiny:latest",
        "Mode": "completion",
        "Config": {"context-size": 512},
    } == row
    assert 1 == len((await tiny.ask("GET", f"{CONFIGURE}?model=tiny")).json)
    assert [] == (await tiny.ask("GET", f"{CONFIGURE}?model=ai/absent")).json


async def test_the_mode_that_is_configured_is_the_one_that_is_loaded(tiny: "Daemon") -> None:
    """An embedding model is not loaded for chats."""
    await configure(tiny, {"raw-runtime-flags": "--embeddings"})
    await loaded(tiny)

    assert ["embedding"] == [str(resident.key.mode) for resident in tiny.residents]


async def test_changing_an_idle_model_restarts_it(tiny: "Daemon") -> None:
    """The next request finds the new settings."""
    await tiny.ask("POST", CHAT, json=tiny.chat())
    await configure(tiny, {"context-size": 512})
    await tiny.ask("POST", CHAT, json=tiny.chat())

    assert "512" in await arguments(tiny)


async def test_changing_a_busy_model_is_a_conflict(tiny: "Daemon") -> None:
    """409 and nothing is stored; the same configuration again is accepted, as is another keep-alive."""
    await configure(tiny, {"context-size": 512})
    async with tiny.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        changed = await configure(tiny, {"context-size": 1024})
        same = await configure(tiny, {"context-size": 512})
        longer = await configure(tiny, {"context-size": 512, "keep_alive": "-1"})

    assert (409, 202, 202) == (changed.status, same.status, longer.status)
    assert "runner already active" in changed.text
    [row] = (await tiny.ask("GET", CONFIGURE)).json
    assert {"context-size": 512, "keep_alive": "-1"} == row["Config"]


async def test_keep_alive_zero_unloads_at_once(tiny: "Daemon") -> None:
    """As soon as the last request ends."""
    await configure(tiny, {"keep_alive": "0"})
    await tiny.ask("POST", CHAT, json=tiny.chat())
    await tiny.until(lambda: not tiny.residents)

    assert [] == (await tiny.ask("GET", "/engines/ps")).json


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"keep_alive": 5}, 400, "invalid request body"),
        ({"keep_alive": "soon"}, 400, "invalid duration"),
        ({"mode": "singing"}, 400, "invalid mode"),
        ({"context-size": "big"}, 400, "invalid request body"),
        ({"runtime-flags": ["--log-file", "x"]}, 400, "not allowed"),
        ({"runtime-flags": ["--threads=/var/x"]}, 400, "paths are not allowed"),
        ({"raw-runtime-flags": "--temp '0.7"}, 400, "cannot be split"),
        ({"model": "ai/absent"}, 404, "model not found"),
        ({"mode": "image-generation"}, 422, "no backend can serve"),
    ],
)
async def test_a_bad_configuration_is_refused(
    tiny: "Daemon", request_: dict[str, object], status: int, message: str
) -> None:
    """With the status of a mistake of the caller's, and nothing is stored or loaded."""
    answer = await configure(tiny, request_)

    assert status == answer.status
    assert message in answer.text
    assert ([], ()) == ((await tiny.ask("GET", CONFIGURE)).json, tiny.residents)


async def test_configuring_an_unknown_engine_is_not_found(tiny: "Daemon") -> None:
    """The path names it, so it is told of."""
    answer = await configure(tiny, {}, path="/engines/no-such/_configure")

    assert (404, True) == (answer.status, "backend not found" in answer.text)


async def test_a_configuration_may_follow_another_at_once(tiny: "Daemon") -> None:
    """The load that the first one began is broken off, and the second one counts."""
    first = await tiny.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "context-size": 1024})
    second = await tiny.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "context-size": 2048})
    [row] = (await tiny.ask("GET", "/engines/_configure")).json

    assert (202, 202) == (first.status, second.status)
    assert row["Config"]["context-size"] == 2048

"""`/engines/_configure`: how models are to be run, from now on and after everything."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.conftest import Answer, Daemon, Make

SHAPE = {
    "block_count": 2,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 4,
    "feed_forward_length": 128,
    "vocab_size": 256,
    "context_length": 2048,
}
CHAT = "/engines/v1/chat/completions"
CONFIGURE = "/engines/_configure"


async def change(daemon: "Daemon", changes: Mapping[str, object]) -> "Answer":
    return await daemon.ask("PATCH", CONFIGURE, json={"model": "ai/tiny", **changes})


async def configured(daemon: "Daemon") -> dict[str, object]:
    """What the one model is configured to, by mode."""
    return {row["Mode"]: row["Config"] for row in (await daemon.ask("GET", CONFIGURE)).json}


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


async def test_a_configuration_outlasts_unloading(tiny: "Daemon") -> None:
    """Whether by name or all; it is forgotten by a command of its own."""
    await configure(tiny, {"context-size": 512})
    await loaded(tiny)
    for request in ({"models": ["ai/tiny"]}, {"all": True}):
        await tiny.ask("POST", "/engines/unload", json=request)
        await tiny.ask("POST", CHAT, json=tiny.chat())
        argv = await arguments(tiny)
        assert "512" == argv[argv.index("--ctx-size") + 1]


async def test_a_configuration_follows_its_name_to_another_model(tiny: "Daemon") -> None:
    """What is pulled anew under a name is run like what had it before."""
    await configure(tiny, {"context-size": 512, "keep_alive": "0"})
    await tiny.ask("POST", CHAT, json=tiny.chat())
    await tiny.until(lambda: not tiny.residents)
    model = await tiny.add("docker.io/ai/tiny:latest", title="newer")
    await tiny.ask("POST", CHAT, json={**tiny.chat(), "fake": {"tokens": 1}})

    [row] = (await tiny.ask("GET", CONFIGURE)).json
    assert str(model) == row["ModelID"]


async def test_removing_a_model_forgets_its_configuration(tiny: "Daemon") -> None:
    """It begins anew when it comes back."""
    await configure(tiny, {"keep_alive": "1h"})
    await loaded(tiny)
    await tiny.ask("DELETE", "/models/ai/tiny")
    await tiny.add("docker.io/ai/tiny:latest")

    assert {} == await configured(tiny)


async def test_removing_a_name_leaves_the_configuration_to_the_others(tiny: "Daemon") -> None:
    """And to nobody who gets that name later."""
    await configure(tiny, {"keep_alive": "1h"})
    await tiny.ask("POST", "/models/ai/tiny/tag?repo=ai/other&tag=latest")
    await tiny.ask("DELETE", "/models/ai/tiny:latest")
    await tiny.add("docker.io/ai/tiny:latest", title="newer")

    [row] = (await tiny.ask("GET", CONFIGURE)).json
    assert "ai/other:latest" == row["Model"]


async def test_purging_forgets_everything(tiny: "Daemon") -> None:
    """With the models."""
    await configure(tiny, {"keep_alive": "1h"})
    await loaded(tiny)
    await tiny.ask("DELETE", "/models/purge")
    await tiny.add("docker.io/ai/tiny:latest")

    assert {} == await configured(tiny)


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


async def test_changing_a_model_that_loads_for_somebody_is_a_conflict(make_daemon: "Make") -> None:
    """Nobody's request is broken off, and nothing is stored."""
    daemon = await make_daemon(engine={"hang_at_load": True}, DMR_DRAIN="0s")
    await daemon.add("docker.io/ai/tiny:latest")
    request = asyncio.create_task(daemon.ask("POST", CHAT, json=daemon.chat()))
    await daemon.until(lambda: bool(daemon.residents))
    answer = await configure(daemon, {"context-size": 512})
    kept = await configured(daemon)
    request.cancel()

    assert (409, {}) == (answer.status, kept)


async def test_a_load_finds_the_configuration_that_stopped_the_one_before(make_daemon: "Make") -> None:
    """Although the request for it came while the old engine was still ending."""
    daemon = await make_daemon(engine={"ignore_sigterm": True})
    await daemon.add("docker.io/ai/tiny:latest")
    await daemon.ask("POST", CHAT, json=daemon.chat())
    changing = asyncio.create_task(configure(daemon, {"context-size": 512}))
    await daemon.until(lambda: [r.state for r in daemon.residents] == ["stopping"])
    answer = await daemon.ask("POST", CHAT, json=daemon.chat())

    assert (200, 202) == (answer.status, (await changing).status)
    assert "512" in await arguments(daemon)


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


async def test_a_model_that_borrows_a_configuration_is_restarted_with_it(tiny: "Daemon") -> None:
    """What runs to embed uses what was said of the model, and finds it changed."""
    await tiny.ask("POST", "/engines/v1/embeddings", json={"model": "ai/tiny", "input": "x"})
    await configure(tiny, {"context-size": 512})
    await tiny.ask("POST", "/engines/v1/embeddings", json={"model": "ai/tiny", "input": "x"})

    assert "512" in await arguments(tiny, "embedding")


async def test_a_model_that_only_embeds_is_configured_without_naming_the_mode(daemon: "Daemon") -> None:
    """Compose cannot name it."""
    await daemon.add("docker.io/ai/tiny:latest", architecture="bert")
    answer = await configure(daemon, {"context-size": 512})
    await loaded(daemon)

    assert 202 == answer.status
    assert {"embedding": {"context-size": 512}} == await configured(daemon)


# Changing


async def test_a_change_leaves_the_rest(tiny: "Daemon") -> None:
    """Null takes an option away; what is not named stays."""
    await configure(tiny, {"context-size": 512, "runtime-flags": ["--temp", "0"], "keep_alive": "1h"})
    answer = await change(tiny, {"keep_alive": None, "context-size": 1024})

    assert (202, "") == (answer.status, answer.text)
    assert {"completion": {"context-size": 1024, "runtime-flags": ["--temp", "0"]}} == await configured(tiny)


async def test_a_change_loads_only_what_was_here(tiny: "Daemon") -> None:
    """Another keep-alive is no reason to load, another context is one to load again."""
    await change(tiny, {"keep_alive": "1h"})
    assert () == tiny.residents

    await tiny.ask("POST", CHAT, json=tiny.chat())
    await change(tiny, {"context-size": 512})
    await loaded(tiny)
    assert "512" in await arguments(tiny)


async def test_a_change_of_a_busy_model_is_a_conflict(tiny: "Daemon") -> None:
    """Unless its engine need not know."""
    async with tiny.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        refused = await change(tiny, {"context-size": 1024})
        pinned = await change(tiny, {"pinned": True})

    assert (409, 202) == (refused.status, pinned.status)
    assert {"completion": {"pinned": True}} == await configured(tiny)


async def test_a_borrowed_configuration_is_what_a_change_begins_with(tiny: "Daemon") -> None:
    """A mode's first own configuration loses nothing of what was in force; only a pin is not its."""
    await configure(tiny, {"context-size": 512, "pinned": True})
    await change(tiny, {"mode": "embedding", "keep_alive": "1h"})

    assert {"context-size": 512, "keep_alive": "1h0m0s"} == (await configured(tiny))["embedding"]


# Pins


async def test_a_pinned_model_is_loaded_and_stays(make_daemon: "Make") -> None:
    """Whatever the keep-alive is."""
    daemon = await make_daemon(DMR_KEEP_ALIVE="0")
    await daemon.add("docker.io/ai/tiny:latest")
    await change(daemon, {"pinned": True})
    await loaded(daemon)
    await daemon.ask("POST", CHAT, json=daemon.chat())
    [resident] = daemon.residents
    assert resident.keep_alive is None

    await change(daemon, {"pinned": False})
    await daemon.until(lambda: not daemon.residents)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_who_configures_what_cannot_be_loaded_is_told(make_daemon: "Make", method: str) -> None:
    """It is accepted all the same: the machine, or the configuration, may be another one tomorrow."""
    daemon = await make_daemon(DMR_MEMORY="1MB")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    answer = await daemon.ask(method, CONFIGURE, json={"model": "ai/tiny", "pinned": True})

    assert 202 == answer.status
    assert "too_large" == answer.json["refusal"]["reason"]
    assert "and 1.00MB can be had" in answer.json["refusal"]["message"]
    assert (await configured(daemon))["completion"] == {"pinned": True}


async def test_who_pins_more_than_there_are_places_is_told(make_daemon: "Make") -> None:
    """And a request for the one too many has an error that says what is missing."""
    daemon = await make_daemon(DMR_PLACES="1")
    for title in ("one", "two"):
        await daemon.add(f"docker.io/ai/{title}:latest", title=title)
    first = await daemon.ask("PATCH", CONFIGURE, json={"model": "ai/one", "pinned": True})
    await loaded(daemon)
    second = await daemon.ask("PATCH", CONFIGURE, json={"model": "ai/two", "pinned": True})

    assert "" == first.text
    assert "pinned models have all places for models" == second.json["refusal"]["message"]
    answer = await daemon.ask("POST", CHAT, json={**daemon.chat(), "model": "ai/two"})
    assert (507, "places_taken") == (answer.status, answer.json["error"]["code"])


async def test_events_tell_what_a_model_is_loaded_for(make_daemon: "Make") -> None:
    """Not every load was asked for by a request."""
    daemon = await make_daemon(DMR_PLACES="4")
    names = ("configured", "pinned", "preloaded", "requested")
    for name in names:
        await daemon.add(f"docker.io/ai/{name}:latest", title=name)
    await daemon.ask("POST", CONFIGURE, json={"model": "ai/configured", "context-size": 512})
    await daemon.ask("PATCH", CONFIGURE, json={"model": "ai/pinned", "pinned": True})
    daemon.services.preload(["ai/preloaded"])
    await daemon.ask("POST", CHAT, json={**daemon.chat(), "model": "ai/requested"})
    await daemon.until(lambda: len(daemon.residents) == 4 and not any(r.loading for r in daemon.residents))

    events = (await daemon.ask("GET", "/engines/events")).json
    starts = {(event["model"], event["reason"]) for event in events if event["kind"] in {"starting", "ready"}}
    assert starts == {(f"ai/{name}:latest", name) for name in names}


async def test_replacing_a_configuration_leaves_the_pin(tiny: "Daemon") -> None:
    """Stock clients cannot mention it; who can, can take it away."""
    await configure(tiny, {"pinned": True, "memory-check": False})
    await configure(tiny, {"context-size": 512})
    assert {"context-size": 512, "pinned": True, "memory-check": False} == (await configured(tiny))[
        "completion"
    ]

    await configure(tiny, {"pinned": False, "memory-check": True})
    assert {"completion": {}} == await configured(tiny)


# Resetting


async def test_resetting_forgets_and_stops_what_ran_otherwise(tiny: "Daemon") -> None:
    """The next load is as if nothing had ever been said."""
    await configure(tiny, {"context-size": 512})
    await loaded(tiny)
    answer = await tiny.ask("DELETE", f"{CONFIGURE}?model=ai/tiny")

    assert (200, {"forgotten": 1}) == (answer.status, answer.json)
    assert ({}, ()) == (await configured(tiny), tiny.residents)
    assert {"forgotten": 0} == (await tiny.ask("DELETE", f"{CONFIGURE}?model=ai/tiny")).json


async def test_resetting_is_by_mode_and_engine_too(tiny: "Daemon") -> None:
    """Each narrows it; all is for all models."""
    await configure(tiny, {"keep_alive": "1h"})
    await configure(tiny, {"mode": "embedding", "keep_alive": "2h"})

    async def reset(query: str, path: str = CONFIGURE) -> object:
        return (await tiny.ask("DELETE", f"{path}?{query}")).json

    assert {"forgotten": 0} == await reset("model=ai/tiny", "/engines/vllm/_configure")
    assert {"forgotten": 1} == await reset("model=ai/tiny&mode=embedding")
    assert {"completion"} == set(await configured(tiny))
    assert {"forgotten": 1} == await reset("all=true")


async def test_resetting_a_busy_model_is_a_conflict(tiny: "Daemon") -> None:
    """And it keeps its configuration."""
    await configure(tiny, {"context-size": 512})
    async with tiny.stream(fake={"tokens": 1000, "tokens_per_second": 50}) as reply:
        await reply.content.readuntil(b"hello")
        answer = await tiny.ask("DELETE", f"{CONFIGURE}?model=ai/tiny")

    assert 409 == answer.status
    assert {"completion": {"context-size": 512}} == await configured(tiny)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "model is required"),
        ("?model=", 400, "model is required"),
        ("?model=ai/absent", 404, "model not found"),
        ("?model=ai/tiny&mode=singing", 400, "invalid mode"),
    ],
)
async def test_a_reset_has_to_name_something(tiny: "Daemon", query: str, status: int, message: str) -> None:
    """Nothing is forgotten by mistake."""
    answer = await tiny.ask("DELETE", f"{CONFIGURE}{query}")

    assert (status, True) == (answer.status, message in answer.text)


# What is in force


async def in_force(
    daemon: "Daemon", query: str = "model=ai/tiny"
) -> dict[str, dict[str, tuple[object, str]]]:
    """Value and origin of each option, by mode."""
    rows = (await daemon.ask("GET", f"{CONFIGURE}?effective=true&{query}")).json
    return {
        row["Mode"]: {name: (found["value"], found["from"]) for name, found in row["Effective"].items()}
        for row in rows
    }


async def test_what_is_in_force_without_a_configuration(tiny: "Daemon") -> None:
    """The defaults, for the mode that the model is for."""
    assert {
        "completion": {
            "context-size": (2048, "default"),
            "keep_alive": ("5m0s", "default"),
            "memory-check": (True, "default"),
            "pinned": (False, "default"),
            "record": (True, "default"),
        }
    } == await in_force(tiny)


async def test_what_is_in_force_says_what_was_configured(tiny: "Daemon") -> None:
    """And leaves the rest as it is by default; a pin is for ever."""
    await configure(
        tiny, {"context-size": 512, "runtime-flags": ["--temp", "0"], "pinned": True, "keep_alive": "1m"}
    )

    assert {
        "completion": {
            "context-size": (512, "configured"),
            "keep_alive": ("-1", "configured"),
            "memory-check": (True, "default"),
            "pinned": (True, "configured"),
            "record": (True, "default"),
            "runtime-flags": (["--temp", "0"], "configured"),
        }
    } == await in_force(tiny)


async def test_the_context_in_force_is_that_of_the_engines_own_flag(tiny: "Daemon") -> None:
    """The last word on the command line counts."""
    await configure(tiny, {"context-size": 512, "raw-runtime-flags": "-c 1024"})
    await loaded(tiny)

    assert (1024, "configured") == (await in_force(tiny))["completion"]["context-size"]
    [row] = (await tiny.ask("GET", "/engines/ps")).json
    assert 1024 == row["context_size"]


async def test_what_is_in_force_is_listed_for_all_that_was_configured(tiny: "Daemon") -> None:
    """A model that was not is not in the list of all."""
    await tiny.add("docker.io/ai/other:latest", title="other")
    await configure(tiny, {"mode": "embedding", "keep_alive": "0"})

    assert {"embedding"} == set(await in_force(tiny, ""))
    assert {"completion", "embedding"} == set(await in_force(tiny))
    assert {} == await in_force(tiny, "model=ai/absent")


async def test_a_model_that_nothing_can_run_has_nothing_in_force(make_daemon: "Make") -> None:
    """It can be inspected all the same."""
    daemon = await make_daemon(LLAMA_SERVER_PATH="/absent/llama-server")
    await daemon.add("docker.io/ai/tiny:latest")

    assert {} == await in_force(daemon)


async def test_ps_shows_what_an_engine_was_started_with(tiny: "Daemon") -> None:
    """Its context and its pin, also when its name has moved on to another model."""
    await configure(tiny, {"context-size": 512, "pinned": True})
    await loaded(tiny)
    [row] = (await tiny.ask("GET", "/engines/ps")).json
    assert (512, True, "-1") == (row["context_size"], row["pinned"], row["keep_alive"])

    await tiny.add("docker.io/ai/tiny:latest", title="newer")
    [row] = (await tiny.ask("GET", "/engines/ps")).json
    assert (512, False) == (row["context_size"], "pinned" in row)


# At the start


async def test_pinned_and_named_models_are_loaded_at_the_start(make_daemon: "Make") -> None:
    """One after the other; what cannot be loaded is only logged."""
    daemon = await make_daemon(DMR_PLACES="3")
    for title in ("one", "two", "three"):
        await daemon.add(f"docker.io/ai/{title}:latest", title=title)
    await daemon.ask("PATCH", CONFIGURE, json={"model": "ai/one", "pinned": True})
    await loaded(daemon)
    await daemon.ask("POST", "/engines/unload", json={"all": True})
    daemon.services.preload(["ai/absent", "NO NAME", "ai/two", "ai/one"])
    await daemon.until(lambda: len(daemon.residents) == 2 and not any(r.loading for r in daemon.residents))

    rows = (await daemon.ask("GET", "/engines/ps")).json
    assert ["ai/one:latest", "ai/two:latest"] == [row["model_name"] for row in rows]

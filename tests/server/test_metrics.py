"""`/metrics` and `/activity` of a running daemon, after something has happened."""

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelrunner.recorder.measuring import Measuring as OfRequests
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from tests.server.conftest import Daemon, Make

# What is read of a header to tell how much memory a model takes.
SHAPE = {
    "block_count": 2,
    "context_length": 4096,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 4,
}
ROOT = Path(__file__).parents[2]
CHAT = "/engines/v1/chat/completions"


async def metrics(daemon: "Daemon") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    await daemon.services.observing.recording.settle()
    answer = await daemon.ask("GET", "/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """The sum of the samples of that name which have these labels."""
    return sum(
        value for (each, having), value in found.items() if each == name and having >= set(labels.items())
    )


@pytest.fixture
async def measured(make_daemon: "Make") -> "Daemon":
    daemon = await make_daemon(DISABLE_METRICS="0")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    return daemon


async def test_requests_tokens_and_times_are_counted(measured: "Daemon") -> None:
    for _ in range(2):
        await measured.ask("POST", CHAT, json=measured.chat())
    await measured.ask("POST", CHAT, json=measured.chat(fake={"status": 500}))
    await measured.ask("POST", "/api/chat", json=measured.chat("ai/nothing"))

    found = await metrics(measured)

    here = {"model": "ai/tiny:latest"}
    assert 2 == value(found, "modelrunner_requests_total", outcome="ok", status="200", api="openai", **here)
    assert 1 == value(found, "modelrunner_requests_total", outcome="failed", status="500", **here)
    assert 1 == value(found, "modelrunner_requests_total", api="ollama", status="404", model="")
    assert 4 == value(found, "modelrunner_tokens_total", kind="completion", **here)
    assert value(found, "modelrunner_request_bytes_total", **here) > 100
    for name in ("request_duration", "queue_wait"):
        assert 3 == value(found, f"modelrunner_{name}_seconds_count", **here)
    assert 1 == value(found, "modelrunner_model_load_seconds_count", **here)
    assert 1 == value(found, "modelrunner_models", state="ready")
    assert value(found, "modelrunner_memory_capacity_bytes", device="ram") > 1e6
    assert value(found, "modelrunner_model_memory_bytes", **here) > 0
    assert value(found, "process_resident_memory_bytes") > 1e6
    assert 0 == value(found, "modelrunner_recorder_dropped_total")
    assert 1 == value(found, "modelrunner_build_info")


async def test_every_engine_s_own_families_are_there_with_its_model(measured: "Daemon") -> None:
    await measured.add("docker.io/ai/other:latest", title="other")
    for model in ("ai/tiny", "ai/other"):
        await measured.ask("POST", CHAT, json=measured.chat(model))

    found = await metrics(measured)

    for model in ("ai/tiny:latest", "ai/other:latest"):
        labels = {"model": model, "backend": "llama.cpp", "mode": "completion"}
        assert value(found, "llamacpp:tokens_predicted_total", **labels) > 0


async def test_unloads_failures_restarts_and_refusals_are_counted_with_their_reasons(
    measured: "Daemon",
) -> None:
    await measured.ask("POST", CHAT, json=measured.chat())
    await measured.ask("POST", "/engines/unload", json={"all": True})
    await measured.ask("POST", CHAT, json=measured.chat(fake={"crash_on_request": True}))
    await measured.until(lambda: not measured.residents)
    await measured.ask("POST", CHAT, json=measured.chat())

    found = await metrics(measured)

    here = {"model": "ai/tiny:latest"}
    assert 1 == value(found, "modelrunner_model_unloads_total", reason="unloaded", **here)
    assert 1 == value(found, "modelrunner_engine_failures_total", reason="crashed", **here)
    assert 1 == value(found, "modelrunner_engine_restarts_total", backend="llama.cpp", **here)


async def test_pulls_are_counted_with_their_bytes(make_daemon: "Make") -> None:
    async with serving(FakeRegistry()) as url:
        host = url.removeprefix("http://")
        daemon = await make_daemon(DISABLE_METRICS="0", DMR_INSECURE_REGISTRIES=host)
        name = f"{host}/ai/tiny"
        await daemon.add(name)
        await daemon.ask("POST", f"/models/{name}/push")
        await daemon.ask("DELETE", f"/models/{name}?force=true")
        await daemon.ask("POST", "/models/create", json={"from": name})
        await daemon.ask("POST", "/models/create", json={"from": f"{host}/ai/nothing"})

        found = await metrics(daemon)

    assert 1 == value(found, "modelrunner_transfers_total", kind="push", outcome="ok")
    assert 1 == value(found, "modelrunner_transfers_total", kind="pull", outcome="ok")
    assert 1 == value(found, "modelrunner_transfers_total", kind="pull", outcome="failed")
    assert value(found, "modelrunner_transfer_bytes_total", kind="pull") > 100


async def test_an_idle_daemon_has_no_engines_and_a_switch_turns_it_off(
    make_daemon: "Make", daemon: "Daemon"
) -> None:
    idle = await make_daemon(DISABLE_METRICS="0")

    assert "# No active runners\n" in (await idle.ask("GET", "/metrics")).text
    assert 404 == (await daemon.ask("GET", "/metrics")).status


async def test_charts_are_made_of_requests_and_samples(make_daemon: "Make") -> None:
    daemon = await make_daemon(DMR_REQUESTS="1MiB")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    await daemon.ask("POST", CHAT, json=daemon.chat())

    view: dict[str, Any] = (await daemon.ask("GET", "/activity?since=60s&step=1s")).json

    columns = {name: column for name, column in view.items() if isinstance(column, list)}
    assert {60} == {len(column) for column in columns.values()}
    assert 1 == sum(view["requests"])
    assert 2 == sum(view["completion_tokens"])
    assert {"ai/tiny:latest"} == view["models"].keys() == view["memory"].keys()
    assert view["memory"]["ai/tiny:latest"][-1] > 0
    assert view["queue"][0] is None
    assert 0 == view["queue"][-1]
    assert 120 == len((await daemon.ask("GET", "/activity")).json["at"])
    for wrong in ("since=40d", "step=1ms", "since=31d&step=1s", "since=x"):
        assert 400 == (await daemon.ask("GET", f"/activity?{wrong}")).status, wrong


async def test_the_dashboard_draws_nothing_that_is_not_there(measured: "Daemon") -> None:
    """Every family that Grafana is to ask for is one of ours, and the file is as `make docs` writes it."""
    spec = importlib.util.spec_from_file_location("grafana", ROOT / "scripts" / "grafana.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    measuring = measured.services.observing.measuring
    assert measuring is not None
    counted = {each.name for each in (*measuring.families, *OfRequests().families)}
    looked_at = {name for name, _ in await metrics(measured)}
    asked = set(re.findall(r"modelrunner_[a-z_]+", script.text()))

    # A gauge that has no samples yet is known by the guide.
    guide = (ROOT / "docs" / "guides" / "metrics.md").read_text()
    assert [] == [
        name
        for name in asked
        if name.removesuffix("_bucket") not in counted | looked_at and f"`{name}`" not in guide
    ]
    assert all(f"`{name}`" in guide for name in counted)
    assert script.text() == script.TARGET.read_text()

"""What models need of this machine, and what they may have."""

from typing import TYPE_CHECKING, cast

import pytest

from modelrunner.engines.estimate import Device, Estimate
from modelrunner.errors import UnsupportedModel
from modelrunner.models.description.kinds import Mode
from modelrunner.oci.digest import Digest
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.server.loading.memory import Memory, advice, capacity

if TYPE_CHECKING:
    from modelrunner.server.loading.preparing import Preparing
    from tests.server.conftest import Make

GB = 10**9
MIB = 1 << 20
CHAT = "/v1/chat/completions"
SHAPE = {
    "block_count": 2,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 4,
    "feed_forward_length": 128,
    "vocab_size": 256,
    "context_length": 2048,
}


@pytest.mark.parametrize(
    ("devices", "limit", "expected"),
    [
        ([Device("ram", 100 * GB, GB)], None, {"ram": 95 * GB}),
        ([Device("ram", 4 * GB, GB)], None, {"ram": 4 * GB - 512 * MIB}),
        ([Device("ram", 100 * MIB, 0)], None, {"ram": 0}),
        ([Device("ram", 100 * GB, GB)], 7 * GB, {"ram": 7 * GB}),
        (
            [Device("ram", 100 * GB, GB), Device("cuda:0", 20 * GB, GB)],
            7 * GB,
            {"ram": 7 * GB, "cuda:0": 19 * GB},
        ),
    ],
)
def test_models_may_have_nearly_all(
    devices: list[Device], limit: int | None, expected: dict[str, int]
) -> None:
    """Or as much of the RAM as was said."""
    assert expected == capacity(devices, limit)


def estimated(weights: int) -> Estimate:
    return Estimate("ram", 8000, weights, cache=8000 * MIB, needed_at=lambda context: weights + context * MIB)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (100 * MIB, None),
        (5000 * MIB, "a context of 4864 tokens would fit: `dmr configure --context-size 4864 MODEL`"),
        (20000 * MIB, "its weights alone are 20.97GB: use a smaller model or a smaller quantization"),
    ],
)
def test_a_context_that_fits_is_offered(weights: int, expected: str | None) -> None:
    """If there is one."""
    assert expected == advice(estimated(weights), {"ram": 10000 * MIB})


async def test_a_model_that_is_too_large_is_refused_with_figures(make_daemon: "Make") -> None:
    """At once, with a status of its own, and what to do."""
    daemon = await make_daemon(DMR_MEMORY="1MB")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    answer = await daemon.ask("POST", CHAT, json=daemon.chat())

    assert 507 == answer.status
    error = answer.json["error"]
    assert "insufficient_memory" == error["code"]
    assert "and 1.00MB can be had" in error["message"]
    assert "--memory-check=false" in error["hint"]


async def test_a_request_may_do_without_the_check(make_daemon: "Make") -> None:
    """Somebody may know better."""
    daemon = await make_daemon(DMR_MEMORY="1MB")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    answer = await daemon.ask("POST", CHAT, json=daemon.chat(), headers={"X-Memory-Check": "off"})

    assert 200 == answer.status


async def test_a_model_may_be_configured_to_do_without_the_check(make_daemon: "Make") -> None:
    """For all its requests."""
    daemon = await make_daemon(DMR_MEMORY="1MB")
    await daemon.add("docker.io/ai/tiny:latest", shape=SHAPE)
    await daemon.ask("POST", "/engines/_configure", json={"model": "ai/tiny", "memory-check": False})

    assert 200 == (await daemon.ask("POST", CHAT, json=daemon.chat())).status


class Unreadable:
    """A model that its engine cannot read, laid out."""

    bundle = options = None

    @property
    def engine(self) -> "Unreadable":
        return self

    async def prepare(self, *_: object) -> "Unreadable":
        return self

    def estimate(self, *_: object) -> Estimate:
        raise UnsupportedModel("not a GGUF file")


async def test_why_the_memory_of_a_model_is_not_known_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often a page asks what would happen."""
    caplog.set_level("INFO")
    memory = Memory(cast("Preparing", Unreadable()), None, probe=lambda: [Device("ram", GB, GB)])
    for _ in range(3):
        for number in (1, 2):
            await memory.estimate(Key("llama.cpp", Digest.of(b"%d" % number), Mode.COMPLETION))

    assert 2 == len(caplog.records)

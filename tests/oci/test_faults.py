"""A pull from the real registry server, with everything going wrong on the way that can."""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelrunner.errors import RunnerError
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.store.store import Store
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.docker_registry import docker_registry
from modelrunner.testing.faults import (
    Ending,
    Fault,
    Request,
    cut,
    drip,
    mislabelled,
    other_bytes,
    redirect,
    reset,
    unavailable,
    unsatisfiable,
    without_range,
)
from modelrunner.testing.proxy import FaultProxy, fault_proxy

pytestmark = pytest.mark.registry

SIZE = 6 << 20
ARTIFACT = make_artifact(os.urandom(SIZE), os.urandom(100_000))
LARGE = ARTIFACT.layers[0]
READ_AHEAD = 3 << 20  # bytes; of a connection, with what its sockets hold
AT_ONCE = RetryPolicy(first=0.0)
SHORT = Timeouts(connect=5.0, stall=0.5, finish=5.0)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
async def proxy(address: str, client: Any) -> Any:
    """In front of a registry that has the artifact as `team/model:v1`."""
    async with client.open() as hub:
        reference = client.reference(address)
        await copy(ARTIFACT, hub.repository(reference), ARTIFACT.content, [reference])
    with fault_proxy(address) as running:
        yield running


class Pull:
    """Pulls of the artifact through a proxy into one store."""

    def __init__(self, client: Any, proxy: FaultProxy, root: Path) -> None:
        self._client, self._proxy = client, proxy
        self.store = Store(root)

    async def __call__(self, *faults: Fault) -> None:
        """Try it once, as a person would; the faults happen to the first requests for the large layer."""
        left = list(faults)

        def plan(request: Request) -> Fault | None:
            return left.pop(0) if left and request.is_blob and LARGE.digest.hex in request.target else None

        self._proxy.plan = plan
        async with self._client.open(timeouts=SHORT, retry=AT_ONCE) as hub:
            reference = self._client.reference(self._proxy.address)
            source = hub.repository(reference)
            manifest = await source.manifest(reference)
            await copy(source, self.store, manifest, [reference], retry=AT_ONCE)

    @property
    def is_intact(self) -> bool:
        """Whether every blob is here with its own bytes, and nothing else is."""
        folder = self.store.blob_path(LARGE.digest).parent
        here = {path.name: path.read_bytes() for path in folder.iterdir()}
        return here == {digest.hex: data for digest, data in ARTIFACT.contents.items()}


@pytest.fixture
def pull(client: Any, proxy: FaultProxy, tmp_path: Path) -> Pull:
    return Pull(client, proxy, tmp_path / "store")


HALF = SIZE // 2


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([cut(HALF)], id="closed in the middle"),
        pytest.param([cut(HALF, Ending.RESET)], id="reset in the middle"),
        pytest.param([cut(HALF, Ending.STALL)], id="stalled in the middle"),
        pytest.param([cut(0, Ending.STALL)], id="stalled before the first byte"),
        pytest.param([cut(100_000), cut(100_000, Ending.RESET), cut(100_000)] * 3, id="again and again"),
        pytest.param([cut(0)] * 3, id="closed before the first byte, three times"),
        pytest.param([reset(), reset()], id="reset instead of an answer"),
        pytest.param([unavailable(), unavailable(0)], id="too busy"),
        pytest.param([cut(HALF), unavailable(0)], id="too busy to go on"),
        pytest.param([drip(256 * 1024, 0.005)] * 2, id="slow drip"),
        pytest.param([cut(HALF), without_range()], id="ranges are ignored"),
        pytest.param([cut(HALF), without_range(), cut(HALF), without_range()], id="ranges are ignored, cut"),
        pytest.param([redirect()], id="sent elsewhere"),
        pytest.param(
            [redirect(), cut(HALF), cut(1000, Ending.RESET), redirect(9)], id="expired, cut elsewhere"
        ),
    ],
)
async def test_one_pull_survives(pull: Pull, faults: list[Fault]) -> None:
    """The pull ends well, and the blobs are what their digests say."""
    await pull(*faults)

    assert pull.is_intact


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([cut(HALF), other_bytes(-1)], id="other bytes of the right length"),
        pytest.param([other_bytes(-1)] * 4, id="other bytes from the start"),
        pytest.param([cut(HALF), mislabelled()], id="another range than asked for"),
        pytest.param([cut(HALF), mislabelled(-1)], id="an earlier range than asked for"),
        pytest.param([cut(HALF), unsatisfiable()], id="range not satisfiable"),
        pytest.param([unsatisfiable()] * 3, id="never satisfiable"),
        pytest.param([cut(HALF)] + [reset()] * 20, id="gone for good"),
        pytest.param([cut(HALF)] + [unavailable(3600)] * 20, id="come back in an hour"),
        pytest.param([cut(0)] * 30, id="nothing ever comes"),
    ],
)
async def test_a_pull_that_fails_leaves_what_the_next_one_can_use(pull: Pull, faults: list[Fault]) -> None:
    """Whether it mends itself or fails with our own error, wrong bytes are never kept for right ones."""
    try:
        await pull(*faults)
    except RunnerError:
        await pull()

    assert pull.is_intact


async def test_a_cut_costs_only_what_was_on_its_way(pull: Pull, proxy: FaultProxy) -> None:
    """What arrived before is not fetched again, but for what was read ahead and not yet passed on."""
    await pull(cut(SIZE - 1000))

    assert pull.is_intact
    assert proxy.fetched <= sum(blob.size for blob in ARTIFACT.content.blobs) + READ_AHEAD


@pytest.mark.parametrize("seed", range(4))
async def test_random_faults_one_after_the_other(pull: Pull, seed: int) -> None:
    """Any mixture of faults at any point; pulls are repeated until one gets through."""
    chance = random.Random(seed)
    makers: list[Callable[[], Fault]] = [
        lambda: cut(chance.randrange(1 << 20)),
        lambda: cut(chance.randrange(1 << 20), Ending.RESET),
        lambda: cut(chance.randrange(1 << 20), Ending.RESET),
        reset,
        unavailable,
        lambda: drip(64 * 1024, 0.0005),
        lambda: redirect(chance.randrange(3)),
        without_range,
        other_bytes,
        mislabelled,
        unsatisfiable,
    ]
    for _ in range(6):
        try:
            await pull(*(chance.choice(makers)() for _ in range(8)))
        except RunnerError:
            continue
        break
    await pull()

    assert pull.is_intact

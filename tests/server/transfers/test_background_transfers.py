"""Transfers that the daemon does by itself, of lines that a test sends."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from modelrunner.errors import RegistryError, TransferNotFound
from modelrunner.server.transfers.background_transfers import BackgroundTransfers
from modelrunner.wire.transfers import ProgressLine, TransferView

END = object()


class Source:
    """The lines of one transfer, as a test sends them; an exception is raised, END ends it."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[object] = asyncio.Queue()
        self.begun = 0
        self.closed = 0

    async def lines(self) -> AsyncGenerator[ProgressLine, None]:
        self.begun += 1
        try:
            while (line := await self.coming.get()) is not END:
                if isinstance(line, Exception):
                    raise line
                yield line  # type: ignore[misc]  # nothing else is sent
        finally:
            self.closed += 1

    async def send(self, *lines: object) -> None:
        for line in lines:
            self.coming.put_nowait(line)
        for _ in range(10):
            await asyncio.sleep(0)


def line(current: int = 0, size: int = 0, total: int = 0, layer: str = "", message: str = "") -> ProgressLine:
    return {
        "type": "progress",
        "message": message,
        "total": total,
        "layer": {"id": layer, "size": size, "current": current} if layer else {},  # type: ignore[typeddict-item]  # a line may tell of no layer
        "mode": "pull",
    }


def sums(view: TransferView) -> tuple[int, int]:
    return view["done"], view["total"]


async def test_the_sum_of_the_layers_is_told() -> None:
    """A pull knows its whole from the start; of a push it becomes known layer by layer."""
    transfers, pulled, pushed = BackgroundTransfers(lambda: 0.0), Source(), Source()
    pull = transfers.begin("pull", "m", pulled.lines)
    push = transfers.begin("push", "m", pushed.lines)

    await pulled.send(line(5, 10, 100, "a"), line(7, 10, 100, "a"), line(20, 90, 100, "b"))
    await pushed.send(line(5, 10, 10, "a"), line(20, 90, 90, "b"))

    assert (27, 100) == sums(pull)
    assert (25, 100) == sums(push)
    await transfers.close()


async def test_a_remark_is_told_and_adds_nothing() -> None:
    transfers, source = BackgroundTransfers(lambda: 0.0), Source()
    view = transfers.begin("pull", "m", source.lines)

    await source.send(line(5, 10, 10, "a"), line(message="verifying"))

    assert ((5, 10), "verifying", "running") == (sums(view), view["message"], view["state"])
    await transfers.close()


async def test_the_same_transfer_is_begun_once() -> None:
    """A push of the same model is another transfer, and so is a pull of another model."""
    transfers, source = BackgroundTransfers(lambda: 0.0), Source()

    begun = [
        transfers.begin("pull", "m", source.lines),
        transfers.begin("pull", "m", source.lines),
        transfers.begin("push", "m", source.lines),
        transfers.begin("pull", "other", source.lines),
    ]
    await source.send()

    assert ["1", "1", "2", "3"] == [view["id"] for view in begun]
    assert source.begun == 3
    assert ["3", "2", "1"] == [view["id"] for view in transfers.all()]
    await transfers.close()


async def test_a_new_try_replaces_what_has_ended() -> None:
    transfers, first, second = BackgroundTransfers(lambda: 0.0), Source(), Source()
    transfers.begin("pull", "m", first.lines)
    await first.send(END)

    again = transfers.begin("pull", "m", second.lines)

    assert [again] == transfers.all()
    assert ("2", "running") == (again["id"], again["state"])
    await transfers.close()


async def test_no_more_than_fifty_that_have_ended_are_kept() -> None:
    """The oldest go first; what is under way is never forgotten."""
    transfers, hung = BackgroundTransfers(lambda: 0.0), Source()
    running = transfers.begin("pull", "hangs", hung.lines)
    for number in range(60):
        source = Source()
        transfers.begin("pull", f"m{number}", source.lines)
        await source.send(END)
    transfers.begin("pull", "last", hung.lines)

    ended = [view["model"] for view in transfers.all() if view["state"] == "done"]
    assert [f"m{number}" for number in range(59, 9, -1)] == ended
    assert running in transfers.all()
    await transfers.close()


async def test_cancelling_waits_until_it_has_let_go() -> None:
    """What it held, such as a claim on a blob, is free when the answer comes."""
    transfers, source = BackgroundTransfers(lambda: 1_700_000_000.0), Source()
    begun = transfers.begin("pull", "m", source.lines)
    await source.send(line(5, 10, 10, "a"))

    view = await transfers.drop(begun["id"])

    assert (view["state"], source.closed) == ("cancelled", 1)
    assert view["ended"] == "2023-11-14T22:13:20.000Z"
    assert [view] == transfers.all()
    await transfers.drop(begun["id"])
    assert transfers.all() == []
    with pytest.raises(TransferNotFound):
        await transfers.drop(begun["id"])


async def test_one_that_is_cancelled_before_it_runs_has_ended_too() -> None:
    """Whoever began it by mistake is quick."""
    transfers = BackgroundTransfers(lambda: 0.0)
    begun = transfers.begin("pull", "m", Source().lines)

    view = await transfers.drop(begun["id"])

    assert view["state"] == "cancelled"
    assert "ended" in view


async def test_an_error_is_told_with_what_helps() -> None:
    transfers, source = BackgroundTransfers(lambda: 0.0), Source()
    view = transfers.begin("pull", "m", source.lines)

    await source.send(RegistryError("unauthorized", hint="log in"))

    assert ("failed", "unauthorized", "log in") == (view["state"], view["message"], view["hint"])


async def test_an_unforeseen_error_is_logged_and_told_in_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback is for the log alone."""
    transfers, source = BackgroundTransfers(lambda: 0.0), Source()
    view = transfers.begin("push", "m", source.lines)

    with caplog.at_level(logging.ERROR):
        await source.send(ZeroDivisionError("odd"))

    assert view["state"] == "failed"
    assert "Traceback" not in view["message"]
    assert ["transfer failed kind=push model=m"] == caplog.messages


async def test_closing_breaks_everything_off() -> None:
    transfers, source = BackgroundTransfers(lambda: 0.0), Source()
    views = [transfers.begin("pull", name, source.lines) for name in ("a", "b")]
    await source.send()

    await transfers.close()

    assert (["cancelled"] * 2, 2) == ([view["state"] for view in views], source.closed)

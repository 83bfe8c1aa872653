"""Pulls and pushes that the daemon does on its own account, so that whoever began one may leave."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable

from modelrunner.errors import RunnerError, TransferNotFound, unforeseen
from modelrunner.server.connection.progress import Direction
from modelrunner.server.inspection.insight import moment
from modelrunner.wire.transfers import ProgressLine, TransferView

_log = logging.getLogger(__name__)
_ENDED_KEPT = 50

Lines = AsyncGenerator[ProgressLine, None]


class BackgroundTransfers:
    """Begins transfers, tells how they get on, and cancels them. What was moved is kept in any case."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        """`wall` gives seconds since the epoch."""
        self._wall = wall
        self._numbers = itertools.count(1)
        self._transfers: dict[str, _Transfer] = {}

    def begin(self, kind: Direction, model: str, lines: Callable[[], Lines]) -> TransferView:
        """Begin a transfer, unless the same is under way already; one that has ended is replaced."""
        for transfer in self._transfers.values():
            if (transfer.view["kind"], transfer.view["model"]) == (kind, model) and not transfer.task.done():
                return transfer.view
        self._transfers = {
            name: transfer
            for name, transfer in self._transfers.items()
            if (transfer.view["kind"], transfer.view["model"]) != (kind, model)
        }
        view: TransferView = {
            "id": f"{next(self._numbers)}",
            "kind": kind,
            "model": model,
            "state": "running",
            "done": 0,
            "total": 0,
            "message": "",
            "began": moment(self._wall()),
        }
        self._transfers[view["id"]] = _Transfer(view, lines(), self._wall)
        self._forget_old()
        return view

    def all(self) -> list[TransferView]:
        """Give all, the latest first."""
        return [transfer.view for transfer in reversed(self._transfers.values())]

    async def drop(self, name: str) -> TransferView:
        """Cancel a transfer that is under way; forget one that has ended.

        Raises:
            TransferNotFound: there is none of that name.
        """
        transfer = self._transfers.get(name)
        if transfer is None:
            raise TransferNotFound(f"no such transfer: `{name[:100]}`", hint="`GET /transfers` lists them")
        if transfer.task.done():
            del self._transfers[name]
        else:
            await transfer.cancel()
        return transfer.view

    async def close(self) -> None:
        """Break off everything; the store keeps what has come for the next try."""
        await asyncio.gather(*(transfer.cancel() for transfer in self._transfers.values()))

    def _forget_old(self) -> None:
        ended = [name for name, transfer in self._transfers.items() if transfer.task.done()]
        for name in ended[: max(0, len(ended) - _ENDED_KEPT)]:
            del self._transfers[name]


class _Transfer:
    """One transfer: its task, and what is told of it."""

    def __init__(self, view: TransferView, lines: Lines, wall: Callable[[], float]) -> None:
        self.view = view
        self._wall = wall
        self._layers: dict[str, tuple[int, int]] = {}
        self.task = asyncio.create_task(self._run(lines), name=f"{view['kind']} {view['model']}")

    async def cancel(self) -> None:
        """End it, if it has not ended."""
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])
            if self.view["state"] == "running":  # it had not come to run
                self._cancelled()

    async def _run(self, lines: Lines) -> None:
        view = self.view
        try:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    self._take(line)
            view["state"] = "done"
        except asyncio.CancelledError:
            self._cancelled()
        except RunnerError as exc:
            self._failed(exc)
        except Exception as exc:  # noqa: BLE001 - whatever it is, whoever looks is told
            _log.exception("transfer failed kind=%s model=%s", view["kind"], view["model"])
            self._failed(unforeseen(exc))
        view["ended"] = moment(self._wall())

    def _cancelled(self) -> None:
        self.view["state"], self.view["message"] = "cancelled", "cancelled; what has come is kept"
        self.view["ended"] = moment(self._wall())

    def _take(self, line: ProgressLine) -> None:
        layer = line["layer"]
        if (name := layer.get("id")) is None:
            self.view["message"] = line["message"]
            return
        self._layers[name] = (layer["current"], layer["size"])
        self.view["done"] = sum(done for done, _ in self._layers.values())
        known = sum(size for _, size in self._layers.values())
        self.view["total"] = max(line["total"], known)  # of a push it is only the layer's own

    def _failed(self, exc: RunnerError) -> None:
        self.view["state"], self.view["message"] = "failed", exc.message
        if exc.hint:
            self.view["hint"] = exc.hint

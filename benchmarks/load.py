"""A load generator that costs little, so that two cores measure the server and not the client.

Keep-alive connections, each with one request in flight; a C parser reads the answers.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httptools

CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class Result:
    """What one run saw: seconds to the first body byte of each answer, and answers for each second."""

    first_byte: list[float] = field(default_factory=list)
    per_second: float = 0.0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A server on loopback that is asked for chat completions."""

    port: int

    def request(self, body: bytes) -> bytes:
        """The whole request as it goes onto the wire."""
        head = (
            f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    """One connection that asks again as soon as it has its answer, until its turns are used up."""

    def __init__(self, request: bytes, turns: int, result: Result, pause: float) -> None:
        self._request = request
        self._turns = turns
        self._result = result
        self._pause = pause
        self._sent = 0.0
        self._waiting_for_first = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiting_for_first = True
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, _body: bytes) -> None:
        if self._waiting_for_first:
            self._waiting_for_first = False
            self._result.first_byte.append(time.perf_counter() - self._sent)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._result.errors += 1
        self._turns -= 1
        if self._turns > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(self._pause, self._ask) if self._pause else loop.call_soon(self._ask)
        else:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._turns > 0:
            self._result.errors += self._turns
        if not self.done.done():
            self.done.set_result(None)


async def run(
    target: Target, body: bytes, *, connections: int, turns: int, spread: float = 0.0, pause: float = 0.0
) -> Result:
    """Ask `turns` times on each of `connections`.

    The connections begin evenly over `spread` seconds and wait `pause` seconds between an answer and the next
    request, so that a latency is measured at a steady load and not in a queue of our own making.
    """
    loop = asyncio.get_running_loop()
    result = Result()
    started = time.perf_counter()

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        _, connection = await loop.create_connection(
            lambda: _Connection(target.request(body), turns, result, pause), "127.0.0.1", target.port
        )
        await connection.done

    await asyncio.gather(*(one(spread * index / connections) for index in range(connections)))
    result.per_second = connections * turns / (time.perf_counter() - started)
    return result


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

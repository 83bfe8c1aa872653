"""What translated streams cost: each dialect against the same stream passed on as it is, in one run.

The fake engine makes 5,000 chunks a second in all; each chunk's text is the time at which it was made, which
the client compares with the time at which it comes.

What a translation adds to the slowest hundredth of chunks is a difference of lower quartiles of rounds: a
machine that stalls for 20 ms of a round delays a hundredth of its chunks, so in most rounds of a busy machine
that is all that their p99 tells, of either stream. A stall only ever makes a round slower, and a quarter of
the rounds has none to speak of. What the daemon itself does (translate, collect garbage) is in every round,
and so in the best ones too. The least and the most of all rounds are printed as well.
"""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.figures import Figure, lower_quartile, show
from benchmarks.load import percentile
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

MODEL = "bench/tiny"
ROUNDS = 12
STREAMS = 50
CHUNKS_PER_SECOND = 5000
MEMORY_STREAMS = 200
_STAMP = re.compile(rb"\b(\d{12,}) ")
_MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True, slots=True)
class Way:
    """How streams are asked for in one dialect."""

    name: str
    path: str
    body: dict[str, object] = field(default_factory=dict)
    stamp: re.Pattern[bytes] = _STAMP

    @property
    def request(self) -> bytes:
        """The whole request as it goes onto the wire."""
        body = json.dumps({"model": MODEL, "messages": _MESSAGES, "stream": True, **self.body}).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + body


UNTRANSLATED = Way("untranslated", "/v1/chat/completions", {"stream_options": {"include_usage": True}})
TRANSLATED = (
    Way("Ollama", "/api/chat"),
    Way("Anthropic", "/v1/messages", {"max_tokens": 1_000_000}),
    # Its last events have the whole text again.
    Way("Responses", "/v1/responses", {"input": "hi"}, re.compile(rb'"delta":"(\d{12,}) ')),
)


Round = tuple[float, list[float]]  # chunks per second, and how late each was, in seconds
Rounds = list[Round]


class _Stream(asyncio.Protocol):
    """One stream: how late each of its chunks came, in seconds."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._rest = b""
        self.delays: list[float] = []
        self.speaks = asyncio.Event()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._way.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        text = self._rest + data
        end = 0
        for match in self._way.stamp.finditer(text):
            self.delays.append((now - int(match[1])) / 1e9)
            end = match.end()
        if self.delays:
            self.speaks.set()
        self._rest = text[max(end, len(text) - 32) :]  # a number may have been cut

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _open(port: int, way: Way, count: int) -> list[_Stream]:
    loop = asyncio.get_running_loop()
    streams = []
    for _ in range(count):
        _, stream = await loop.create_connection(lambda: _Stream(way), "127.0.0.1", port)
        streams.append(stream)
    return streams


async def _run(port: int, way: Way, streams: int) -> Round:
    """Chunks per second over some streams until all have ended, and how late they were, in seconds."""
    started = time.perf_counter()
    opened = await _open(port, way, streams)
    await asyncio.gather(*(stream.done for stream in opened))
    seconds = time.perf_counter() - started
    delays = [delay for stream in opened for delay in stream.delays]
    assert len(delays) > 100, f"{way.name}: {len(delays)} chunks"
    return len(delays) / seconds, delays


async def _speed(port: int, streams: int) -> dict[str, Rounds]:
    """Rounds of every way, in turns; each round begins with another one."""
    ways = (UNTRANSLATED, *TRANSLATED)
    for way in ways:
        await _run(port, way, streams)  # warm up
    found: dict[str, Rounds] = {way.name: [] for way in ways}
    for number in range(ROUNDS):
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            found[way.name].append(await _run(port, way, streams))
    return found


async def _memory(runner: Runner, way: Way) -> float:
    """Kilobytes that the daemon holds for each open stream."""
    daemon = psutil.Process(runner.pid)
    first = await _open(runner.port, way, 20)  # what is made once for all
    await _until_all_speak(first)
    before = daemon.memory_info().rss
    streams = await _open(runner.port, way, MEMORY_STREAMS)
    await _until_all_speak(streams)
    held = daemon.memory_info().rss - before
    for stream in (*first, *streams):
        stream.transport.abort()
    await asyncio.gather(*(stream.done for stream in (*first, *streams)))
    return held / MEMORY_STREAMS / 1000


async def _until_all_speak(streams: Sequence[_Stream]) -> None:
    await asyncio.gather(*(stream.speaks.wait() for stream in streams))


def _daemon(folder: Path, **behaviour: object) -> tuple[Path, dict[str, str]]:
    program = fake_llama_server(folder)
    fake = json.dumps({"timestamps": True, **behaviour})
    # The fake engine has no slots: nothing is to wait in the daemon's line.
    slots = f"--parallel {2 * MEMORY_STREAMS}"
    return folder / "home", {
        "LLAMA_SERVER_PATH": str(program),
        "LLAMA_ARGS": slots,
        "FAKE_ENGINE": fake,
    }


def speed(folder: Path, title: str, *, bound: bool, streams: int, **behaviour: object) -> list[Figure]:
    """Figures of all dialects at one pace of the engine."""
    home, environ = _daemon(folder, **behaviour)
    with running(home, **environ) as runner:
        runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), MODEL)
        found = asyncio.run(_speed(runner.port, streams))
    base = found.pop(UNTRANSLATED.name)
    figures = [Figure(f"{title}: untranslated", tuple(rate for rate, _ in base), "ch/s")]
    for name, rounds in found.items():
        ratios = tuple(rate / other for (rate, _), (other, _) in zip(rounds, base, strict=True))
        figures.append(
            Figure(f"{title}: {name} / untranslated", ratios, "x", at_least=0.5 if bound else None)
        )
        if bound:
            figures += [_added(f"{name}, added time per chunk", rounds, base, share) for share in (0.5, 0.99)]
    return figures


def _added(name: str, rounds: Rounds, base: Rounds, share: float) -> Figure:
    """What comes to the time of a chunk, in the lower quartile of rounds; see above."""
    usual = lower_quartile([percentile(delays, share) for _, delays in base])
    added = tuple(1000 * (percentile(delays, share) - usual) for _, delays in rounds)
    words = f"  {name}, p{share * 100:g}, lower quartile"
    return Figure(words, added, "ms", at_most=2.0 if share > 0.5 else None, of_rounds=lower_quartile)


def memory(folder: Path) -> list[Figure]:
    """What an open stream holds."""
    home, environ = _daemon(folder, tokens=100_000, tokens_per_second=5)
    figures = []
    for way in (UNTRANSLATED, *TRANSLATED):
        values = []
        for number in range(2):
            with running(home.with_name(f"{way.name}{number}"), **environ) as runner:
                runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), MODEL)
                values.append(asyncio.run(_memory(runner, way)))
        figures.append(Figure(f"memory per open stream: {way.name}", tuple(values), "kB", at_most=100))
    return figures


def main() -> bool:
    """Start a daemon for each pace, measure, stop it."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        paced = speed(
            folder / "paced",
            f"{CHUNKS_PER_SECOND} chunks/s, {STREAMS} streams",
            bound=True,
            streams=STREAMS,
            tokens=200,
            tokens_per_second=CHUNKS_PER_SECOND / STREAMS,
        )
        free = speed(folder / "free", "as fast as it goes, 4 streams", bound=False, streams=4, tokens=5000)
        return show(
            "translated streams (one worker, fake engine)", [*paced, *free, *memory(folder / "memory")]
        )


if __name__ == "__main__":
    main()

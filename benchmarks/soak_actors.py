"""Who is busy during a soak: clients that ask and leave, a user who meddles, readers, and a watchman."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import psutil

from benchmarks.soak_requests import CHATS, KINDS, Kind, code_of, is_sentence, reason_of

PATIENCE = 330.0  # seconds in which every request ends: an engine has 300 to become ready
_ALLOWED = frozenset({200, 400, 404, 409, 412, 422, 500, 501, 503, 504, 507})
_FAKES: tuple[dict[str, object], ...] = (
    {},
    {},
    {},
    {"tokens": 20, "tokens_per_second": 40},
    {"crash_on_request": True},
    {"tokens": 50, "tokens_per_second": 50, "crash_after_tokens": 10},
    {"status": 500},
)
_HANGS: dict[str, object] = {"hang_on_request": True}


_HELPERS = ("guardian", "modelrunner.recorder")


def engines_of(pid: int) -> list[psutil.Process]:
    """The daemon's children that are engines, and not only waiting to be reaped; helpers stay as it does."""
    children = psutil.Process(pid).children(recursive=True)
    alive = (child for child in children if child.status() != psutil.STATUS_ZOMBIE)
    return [
        child for child in alive if not any(name in word for word in child.cmdline() for name in _HELPERS)
    ]


class Report:
    """What was seen. `memory` is of the daemon, in bytes, once a second."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.statuses: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()  # by status, code and dialect
        self.examples: dict[str, str] = {}
        self.meddled: Counter[str] = Counter()
        self.memory: list[int] = []
        self.slowest = 0.0
        self.unwell = 0
        self.events = 0
        self.problems: list[str] = []

    @property
    def early_memory(self) -> int:
        """The most that it had in the first tenth of the run."""
        return max(self.memory[: max(1, len(self.memory) // 10)])

    def wrong(self, sentence: str) -> None:
        """Tell that something is wrong, now and in the end."""
        moment = time.monotonic() - self.begun
        self.problems.append(f"at {moment:.0f} s: {sentence}")
        print(f"  WRONG {self.problems[-1]}", flush=True)

    def expect(self, what: str, expected: object, actual: object) -> None:
        """Have something be as it should."""
        if expected != actual:
            self.wrong(f"{what}: {actual}")

    def at_most(self, what: str, amount: int, bound: int) -> None:
        """Have something not be more than it should."""
        print(f"  {what}: {amount}, may be {bound}", flush=True)
        if amount > bound:
            self.wrong(f"{what}: {amount}, more than {bound}")

    def summary(self) -> str:
        """Everything in a few lines."""
        sizes = (*self.memory[:1], self.early_memory, *self.memory[-1:])
        megabytes = ", ".join(f"{each / (1 << 20):.1f}" for each in sizes)
        return (
            f"{sum(self.statuses.values())} requests: {dict(self.statuses.most_common())}\n"
            f"of which refused or failed:\n{self._refusals()}"
            f"{sum(self.meddled.values())} things done: {dict(self.meddled.most_common())}\n"
            f"{self.events} events read; slowest look {self.slowest:.2f} s; {self.unwell} times not healthy\n"
            f"memory of the daemon: {megabytes} MiB (start, early, end)\n"
            + ("\n".join(self.problems) or "nothing was wrong, and nothing is left")
        )

    def refused(self, path: str, status: int, raw: bytes) -> None:
        """Count an error under its name, so that a run explains itself."""
        sentence = " ".join(raw.decode(errors="replace").split())[:160]
        name = f"{status} {code_of(raw)} {reason_of(raw)}".strip()
        self.refusals[name] += 1
        self.examples.setdefault(name, f"{path}: {sentence}")

    def _refusals(self) -> str:
        return "".join(
            f"  {count:6} {name}  ({self.examples[name]})\n" for name, count in self.refusals.most_common()
        )


class Crowd:
    """Clients of one daemon."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, chance: random.Random, report: Report
    ) -> None:
        self.session = session
        self.url = url
        self.chance = chance
        self.report = report

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Ask a management route; its answer, when that is JSON."""
        timeout = aiohttp.ClientTimeout(60)
        async with self.session.request(method, self.url + path, json=body, timeout=timeout) as reply:
            text = await reply.text()
            if reply.status >= 500:
                self.report.wrong(f"{method} {path}: {reply.status} {text[:200]}")
            return await reply.json() if reply.content_type == "application/json" else text

    async def wander(self, names: list[str]) -> None:
        """Ask for this and that, one thing after the other, and leave now and then before the answer."""
        chance = self.chance
        while True:
            name, path = chance.choice(names), chance.choice((*CHATS, *CHATS, *KINDS))
            fake = chance.choice(_FAKES)
            if chance.random() < 0.2:
                if chance.random() < 0.3:
                    fake = _HANGS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.choice((0.01, 0.1, 1.0, 3.0))):
                        await self.ask(name, path, fake)
                self.report.statuses["left"] += 1
            else:
                await self.ask(name, path, fake)
            await asyncio.sleep(chance.choice((0, 0, 0.01, 0.2)))

    async def ask(self, name: str, path: str, fake: dict[str, object] | None = None) -> int:
        """Ask a model and read all of the answer; its status."""
        kind = KINDS[path]
        body: dict[str, Any] = {**kind.body, "model": name}
        if kind.tells:
            body["fake"] = fake or {}
        if kind.streams:
            body["stream"] = self.chance.random() < 0.5
        if self.chance.random() < 0.1:
            body["keep_alive"] = self.chance.choice(("0", "1s", "1m", "-1"))
        headers = {
            "X-Priority": self.chance.choice(("high", "normal", "low")),
            "X-Request-Id": f"soak-{self.chance.random()}",
        }
        begun = time.monotonic()
        try:
            status = await self._ask(path, kind, body, headers)
        except TimeoutError:
            if time.monotonic() - begun < PATIENCE:
                raise  # the client was to leave
            self.report.wrong(f"no end of an answer within {PATIENCE} s: {path} {name}")
            return 0
        self.report.statuses[str(status)] += 1
        if status not in _ALLOWED:
            self.report.wrong(f"{status} of {path}")
        return status

    async def _ask(self, path: str, kind: Kind, body: dict[str, Any], headers: dict[str, str]) -> int:
        timeout = aiohttp.ClientTimeout(PATIENCE)
        try:
            async with self.session.post(
                self.url + path, json=body, headers=headers, timeout=timeout
            ) as reply:
                raw = await reply.read()
        except aiohttp.ClientPayloadError:
            return 200  # an answer that is no stream breaks off with its engine
        if reply.status == 200 and body.get("stream"):
            if not kind.ends(raw.strip().rpartition(kind.separator)[2]):
                self.report.wrong(f"a stream of {path} ended in silence: {raw[-200:]!r}")
        elif reply.status >= 400:
            self.report.refused(path, reply.status, raw)
            if not is_sentence(raw):
                self.report.wrong(f"an error without a sentence: {reply.status} {raw[:200]!r}")
        return reply.status


async def meddle(crowd: Crowd, names: list[str], daemon: int) -> None:
    """Unload, configure, pin, look, kill and stop engines, at random."""
    chance = crowd.chance
    while True:
        await asyncio.sleep(chance.uniform(0, 1.0))
        name = chance.choice(names)
        what = chance.choice(("unload", "unload all", "configure", "pin", "unpin", "reset", "kill", "stop"))
        crowd.report.meddled[what] += 1
        match what:
            case "unload":
                await crowd.call("POST", "/engines/unload", {"models": [name]})
            case "unload all":
                await crowd.call("POST", "/engines/unload", {"all": True})
            case "configure":
                options = {
                    "context-size": chance.choice((512, 1024)),
                    "keep_alive": chance.choice(("1s", "1m")),
                }
                await crowd.call("POST", "/engines/_configure", {"model": name} | options)
            case "pin" | "unpin":
                pinned = what == "pin" and name == names[0]
                await crowd.call("PATCH", "/engines/_configure", {"model": name, "pinned": pinned})
            case "reset":
                await crowd.call("DELETE", "/engines/_configure?all=true")
            case _:
                _hit_an_engine(daemon, chance, signal.SIGKILL if what == "kill" else signal.SIGSTOP)


def _hit_an_engine(daemon: int, chance: random.Random, number: signal.Signals) -> None:
    """Send a signal to one of the engines; a stopped one is killed soon, as its answers never come."""
    with contextlib.suppress(psutil.NoSuchProcess):
        _hit(engines_of(daemon), chance, number)


def _hit(engines: list[psutil.Process], chance: random.Random, number: signal.Signals) -> None:
    if not engines:
        return
    pid = chance.choice(engines).pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        if number is signal.SIGSTOP:
            asyncio.get_running_loop().call_later(5.0, _kill, pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
            os.kill(pid, signal.SIGKILL)


async def follow(crowd: Crowd) -> None:
    """Read events for a while, sometimes slowly, leave, and come back."""
    while True:
        stay = crowd.chance.choice((1.0, 5.0, 30.0))
        pause = crowd.chance.choice((0.0, 0.0, 0.5))
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(stay),
                crowd.session.get(f"{crowd.url}/engines/events?follow=true") as reply,
            ):
                async for line in reply.content:
                    crowd.report.events += line.startswith(b"data:")
                    await asyncio.sleep(pause)


async def watch(crowd: Crowd, daemon: psutil.Process) -> None:
    """Look at everything once a second; each look has to be answered soon, whatever goes on."""
    report = crowd.report
    looks = ("/engines/status", "/engines/ps", "/engines/queue", "/engines/events?limit=5", "/models")
    while True:
        for path in (*looks, f"/engines/explain?model=ai/soak{crowd.chance.randrange(10)}"):
            begun = time.monotonic()
            await crowd.call("GET", path)
            report.slowest = max(report.slowest, time.monotonic() - begun)
            if time.monotonic() - begun > 10:
                report.wrong(f"{path} took {time.monotonic() - begun:.1f} s")
        async with crowd.session.get(f"{crowd.url}/health") as reply:
            report.unwell += reply.status != 200
        report.memory.append(daemon.memory_info().rss)
        await asyncio.sleep(1)

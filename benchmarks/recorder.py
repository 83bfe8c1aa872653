"""What the recorder costs the data path, on against off, and how long a search takes among 100,000 requests.

Both daemons answer in one run, in many short turns, so that whatever else the machine does falls on both.
"""

import asyncio
import json
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.figures import Figure, show
from benchmarks.load import Target, percentile, run
from benchmarks.processes import child, cpu
from modelrunner.recorder.database import open_to_read, open_to_write
from modelrunner.recorder.reading import read_noted
from modelrunner.recorder.redaction import Rules
from modelrunner.recorder.searching import page
from modelrunner.recorder.values import Filter, Instance, Noted
from modelrunner.recorder.writing import Writing
from modelrunner.testing.daemon import Runner, fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

MODEL = "bench/tiny"
ROUNDS = 15
LONG_ROUNDS, LONG_TURNS = 5, 400  # seconds each
ENDLESS_TURNS = 4000  # so long that the recorder has to work beside the rest
CONNECTIONS = 50
STORED = 100_000
_WORDS = 3_000
_SEARCHES = ("word42", "word1 word7", '"word3 word4"', "word29*", "word2", "rareword")


def _body(*, stream: bool, fake: dict[str, object]) -> bytes:
    messages = [{"role": "user", "content": "Say something that is not too long, please."}]
    return json.dumps({"model": MODEL, "messages": messages, "stream": stream, "fake": fake}).encode()


def data_path(on: Runner, off: Runner) -> list[Figure]:
    """Rounds of both, in turns."""
    recorded, plain = Target(on.port), Target(off.port)
    whole = _body(stream=False, fake={"tokens": 4})
    paced = _body(stream=True, fake={"tokens": 20, "tokens_per_second": 50})
    shares: list[float] = []
    long: list[float] = []
    endless: list[float] = []
    single: list[float] = []
    added: list[float] = []
    work: dict[str, list[float]] = {"daemon": [], "recorder": []}

    async def rounds() -> None:
        for target in (recorded, plain):
            await run(target, whole, connections=CONNECTIONS, turns=20)  # warm up
        await settled(on)  # which has started it
        beside = child(on.pid, "modelrunner.recorder")
        for number in range(ROUNDS):
            order = (recorded, plain) if number % 2 else (plain, recorded)
            many, one, paces, spent = {}, {}, {}, {}
            for target in order:
                daemon = on if target is recorded else off
                before = cpu(daemon.pid), cpu(beside)
                many[target] = await run(target, whole, connections=CONNECTIONS, turns=60)
                await settled(on)
                spent[target] = cpu(daemon.pid) - before[0], cpu(beside) - before[1]
            for target in order:
                one[target] = await run(target, whole, connections=1, turns=300)
                await settled(on)
            for target in order:
                paces[target] = await run(target, paced, connections=CONNECTIONS, turns=2, spread=0.4)
                await settled(on)
            for load in (*many.values(), *one.values(), *paces.values()):
                assert not load.errors, load.errors
            shares.append(many[recorded].per_second / many[plain].per_second)
            work["daemon"].append(spent[recorded][0] / spent[plain][0])
            work["recorder"].append(spent[recorded][1] / (CONNECTIONS * 60) * 1e6)
            single.append(one[recorded].per_second / one[plain].per_second)
            added.append(
                1000
                * (percentile(paces[recorded].first_byte, 0.5) - percentile(paces[plain].first_byte, 0.5))
            )
        for number, turns in enumerate([LONG_TURNS] * LONG_ROUNDS + [ENDLESS_TURNS]):
            rates = {}
            for target in (recorded, plain) if number % 2 else (plain, recorded):
                load = await run(target, whole, connections=CONNECTIONS, turns=turns)
                assert not load.errors, load.errors
                await settled(on)
                rates[target] = load.per_second
            (long if turns == LONG_TURNS else endless).append(rates[recorded] / rates[plain])

    asyncio.run(rounds())
    view = recorder(on)
    asked = ROUNDS * (CONNECTIONS * 62 + 300) + CONNECTIONS * (20 + LONG_ROUNDS * LONG_TURNS + ENDLESS_TURNS)
    return [
        Figure("recorder on / off, 50 connections", tuple(shares), "x", at_least=0.85),
        Figure("  the daemon's time on a core, on / off", tuple(work["daemon"]), "x"),
        Figure("  the recorder's, for each request", tuple(work["recorder"]), "us"),
        Figure("  for seconds, with both cores full", tuple(long), "x"),
        Figure("  for much longer", tuple(endless), "x"),
        Figure("recorder on / off, 1 connection", tuple(single), "x"),
        Figure("added time to first token, p50", tuple(added), "ms", at_most=0.2),
        Figure("recorded, of those asked", (view["requests"] / asked,), "x"),
        Figure("dropped", (float(view["dropped"]),), "requests"),
    ]


def recorder(daemon: Runner) -> dict[str, Any]:
    """What the recorder says of itself, when it has written what it had."""
    with urlopen(f"{daemon.url}/requests/recorder") as reply:
        view: dict[str, Any] = json.load(reply)
        return view


async def settled(daemon: Runner) -> None:
    """Wait until nothing is left to write, which would fall on those whose turn is next."""
    while (await asyncio.to_thread(recorder, daemon))["waiting"]:
        pass


def searches(folder: Path) -> list[Figure]:
    """Fill a file, and search it."""
    file = folder / "requests.db"
    chance = random.Random(1)
    words = [f"word{number}" for number in range(_WORDS)]
    weights = [1 / (1 + number) for number in range(_WORDS)]  # as in a language: few are frequent
    with closing(open_to_write(file)) as connection:
        writing = Writing(connection, limit=1 << 40, lifetime=1e9)
        for start in range(0, STORED, 1000):
            writing.store(
                read_noted(_noted(start + number, chance.choices(words, weights, k=40)), Rules(), b"")
                for number in range(1000)
            )
    found: dict[str, list[float]] = {search: [] for search in _SEARCHES}
    filtered: list[float] = []
    with closing(open_to_read(file)) as reading:
        for _ in range(ROUNDS):
            for search in _SEARCHES:
                found[search].append(_timed(reading, Filter(words=search)))
            filtered.append(_timed(reading, Filter(words="word2", outcome="failed", since=STORED * 0.9)))
    worst = tuple(max(times[number] for times in found.values()) for number in range(ROUNDS))
    return [
        Figure(f"search among {STORED:,} requests, slowest of {len(_SEARCHES)}", worst, "ms", at_most=100),
        Figure("  a frequent word with a rare filter", tuple(filtered), "ms", at_most=100),
        Figure("  the file", (file.stat().st_size / 1e6,), "MB"),
    ]


def _timed(reading: object, wanted: Filter) -> float:
    begin = time.perf_counter()
    page(reading, wanted, 50)  # type: ignore[arg-type]
    return 1000 * (time.perf_counter() - begin)


def _noted(number: int, words: list[str]) -> Noted:
    if number == STORED // 2:
        words.append("rareword")
    body = {"model": MODEL, "messages": [{"role": "user", "content": " ".join(words[:15])}]}
    answer = {"choices": [{"message": {"content": " ".join(words[15:])}}], "usage": {"completion_tokens": 25}}
    failed = number % 1000 == 0
    return Noted(
        at=float(number),
        request_id=b"req_%d" % number,
        method="POST",
        path="/v1/chat/completions",
        model=MODEL,
        instance=Instance("sha256:" + "ab" * 32, MODEL, "llama.cpp", "completion", 4096, "{}"),
        address="127.0.0.1",
        user_agent=b"bench/1",
        key=None,
        replay_of=None,
        trace=None,
        request_type=b"application/json",
        answer_type=b"application/json",
        status=500 if failed else 200,
        outcome="failed" if failed else "ok",
        error=None,
        asked=0.0,
        first=0.1,
        last=0.2,
        seconds=0.2,
        queued=0.0,
        loading=0.0,
        cut=False,
        keep=True,
        body=json.dumps(body).encode(),
        answer=json.dumps(answer).encode(),
    )


def main() -> bool:
    """Start both, measure, stop both; then search."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        program = fake_llama_server(folder)
        common = {"LLAMA_SERVER_PATH": str(program), "LLAMA_ARGS": f"--parallel {2 * CONNECTIONS}"}
        recorded = running(folder / "on", **common)
        plain = running(folder / "off", DMR_REQUESTS="0", DISABLE_METRICS="1", **common)
        with recorded as on, plain as off:
            for runner in (on, off):
                runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), MODEL)
            figures = data_path(on, off)
        return show("the recorder (one worker, fake engine)", figures + searches(folder))


if __name__ == "__main__":
    main()

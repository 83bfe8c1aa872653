"""What the daemon adds to a request: against the same engine asked directly, with a fast fake engine.

Both answer in one run, in turns, so that whatever else the machine does falls on both.
"""

import asyncio
import json
import tempfile
from pathlib import Path

from benchmarks.daemons import engine_alone
from benchmarks.figures import Figure, show
from benchmarks.load import Target, percentile, run
from modelrunner.testing.daemon import fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

MODEL = "bench/tiny"
ROUNDS = 5
STREAMS = 50


def _body(*, stream: bool, fake: dict[str, object]) -> bytes:
    messages = [{"role": "user", "content": "Say something that is not too long, please."}]
    return json.dumps({"model": MODEL, "messages": messages, "stream": stream, "fake": fake}).encode()


def measure(daemon_port: int, engine_port: int) -> list[Figure]:
    """Rounds of both, in turns."""
    through, direct = Target(daemon_port), Target(engine_port)
    whole = _body(stream=False, fake={"tokens": 4})
    # 50 streams of 20 tokens at 50 tokens a second: each lasts 0.4 s, and 50 are open at any time.
    paced = _body(stream=True, fake={"tokens": 20, "tokens_per_second": 50})
    rates: dict[int, list[tuple[float, float]]] = {1: [], STREAMS: []}
    added: dict[float, list[float]] = {0.5: [], 0.99: []}
    single: list[float] = []

    async def rounds() -> None:
        for target in (through, direct):
            await run(target, whole, connections=STREAMS, turns=20)  # warm up
        for _ in range(ROUNDS):
            for connections, turns in ((1, 1500), (STREAMS, 240)):
                one = await run(direct, whole, connections=connections, turns=turns)
                two = await run(through, whole, connections=connections, turns=turns)
                assert not one.errors + two.errors, (one.errors, two.errors)
                rates[connections].append((two.per_second, one.per_second))
                if connections == 1:
                    single.append(1000 * (percentile(two.first_byte, 0.5) - percentile(one.first_byte, 0.5)))
            one = await run(direct, paced, connections=STREAMS, turns=10, spread=0.4)
            two = await run(through, paced, connections=STREAMS, turns=10, spread=0.4)
            assert not one.errors + two.errors, (one.errors, two.errors)
            for share, values in added.items():
                values.append(1000 * (percentile(two.first_byte, share) - percentile(one.first_byte, share)))

    asyncio.run(rounds())
    many = rates[STREAMS]
    return [
        Figure("added time to first token, 50 streams, p50", tuple(added[0.5]), "ms", at_most=0.7),
        Figure("added time to first token, 50 streams, p99", tuple(added[0.99]), "ms", at_most=3.0),
        Figure("added time, 1 connection, p50", tuple(single), "ms"),
        Figure("not streamed, 50 connections", tuple(a for a, _ in many), "req/s", at_least=4000),
        Figure("  the engine alone", tuple(b for _, b in many), "req/s"),
        Figure("  through the daemon / alone", tuple(a / b for a, b in many), "x"),
        Figure("not streamed, 1 connection", tuple(a for a, _ in rates[1]), "req/s"),
        Figure("  through the daemon / alone", tuple(a / b for a, b in rates[1]), "x"),
    ]


def main() -> bool:
    """Start both, measure, stop both."""
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        program = fake_llama_server(folder)
        # The fake engine has no slots: nothing is to wait in the daemon's line.
        daemon = running(
            folder / "home", LLAMA_SERVER_PATH=str(program), LLAMA_ARGS=f"--parallel {2 * STREAMS}"
        )
        with engine_alone() as engine, daemon as runner:
            runner.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), MODEL)
            return show("pass-through (one worker, fake engine)", measure(runner.port, engine))


if __name__ == "__main__":
    main()

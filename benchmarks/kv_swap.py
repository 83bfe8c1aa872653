"""A long prompt after a swap: from request to first token, with what was computed restored and without.

A prompt is asked, another model takes the only place, and the prompt is asked again; loading the model is
part of what is measured. One daemon keeps what engines computed of prompts, the other one does not.
"""

import http.client
import json
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, show
from modelrunner.testing.daemon import Runner, running
from scripts.fetch_test_model import fetch

FIRST, SECOND = "bench/first", "bench/second"
ROUNDS = 3
TOKENS = 2000


def prompt(number: int) -> str:
    """A text of about 2,000 tokens of SmolLM2, like no other from its first words on."""
    lines = (
        f"Line {line} of report {number} says that all is well on that day. " for line in range(TOKENS // 17)
    )
    return f"Report {number}. {''.join(lines)} What does the report say?"


def ask(port: int, model: str, text: str) -> tuple[float, int]:
    """Ask, and read the whole answer; the seconds to its first text, and how many tokens were cached."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4,
        "temperature": 0,
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(response.read().decode(errors="replace"))
    first, cached = 0.0, 0
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if not first and event["choices"] and event["choices"][0]["delta"].get("content"):
            first = time.perf_counter() - started
        if usage := event.get("usage"):
            cached = usage["prompt_tokens_details"]["cached_tokens"]
    connection.close()
    return first, cached


def again(runner: Runner, number: int) -> tuple[float, int]:
    """Ask twice, with a swap in between; what is measured is the second time."""
    ask(runner.port, FIRST, prompt(number))
    ask(runner.port, SECOND, "Say hello.")
    return ask(runner.port, FIRST, prompt(number))


def main() -> bool:
    """Both, in turns."""
    gguf = fetch()
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as name:
        folder = Path(name)
        licence = folder / "licence.txt"
        licence.write_text("so that it is another model")
        one_place = {"DMR_PLACES": "1"}
        with (
            running(folder / "with", **one_place) as keeping,
            running(folder / "without", **one_place, DMR_PROMPT_CACHE="0") as forgetting,
        ):
            for runner in (keeping, forgetting):
                runner.must("package", "--gguf", gguf, FIRST)
                runner.must("package", "--gguf", gguf, "--license", licence, SECOND)
            pairs = [(again(forgetting, number), again(keeping, number)) for number in range(ROUNDS)]
    ratios = tuple(slow / quick for (slow, _), (quick, _) in pairs)
    return show(
        f"a prompt of {TOKENS:,} tokens after a swap (SmolLM2-135M, request to first token)",
        [
            Figure("computed again / restored", ratios, "x", at_least=5.0),
            Figure("  restored", tuple(1000 * seconds for _, (seconds, _) in pairs), "ms"),
            Figure("  computed again", tuple(1000 * seconds for (seconds, _), _ in pairs), "ms"),
            Figure("  tokens that the engine had, restored", tuple(float(c) for _, (_, c) in pairs), ""),
            Figure("  tokens that the engine had, otherwise", tuple(float(c) for (_, c), _ in pairs), ""),
        ],
    )


if __name__ == "__main__":
    main()

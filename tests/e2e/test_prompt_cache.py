"""What an engine computed of a prompt outlives the engine, and the daemon; shown with the real ones."""

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelrunner.testing.daemon import Runner, running

pytestmark = pytest.mark.engine

STATES = ".local/state/modelrunner/prompts"
TEXT = " ".join(f"Item {number} of the list is fine." for number in range(40))


@pytest.fixture
def runner(tmp_path: Path, smollm2: Path) -> Iterator[Runner]:
    """A daemon of its own: its files are looked at, and it is started anew."""
    with running(tmp_path / "home") as found:
        found.must("package", "--gguf", smollm2, "ai/smollm2")
        yield found


def post(runner: Runner, path: str, body: dict[str, object]) -> bytes:
    request = urllib.request.Request(f"{runner.url}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as reply:
        answer: bytes = reply.read()
    return answer


def chat(runner: Runner, *turns: str) -> tuple[str, int, int]:
    """What was answered, the tokens of the prompt, and how many of them the engine had."""
    roles = ("user", "assistant")
    messages = [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(turns)]
    body = {"model": "ai/smollm2", "messages": messages, "max_tokens": 8, "temperature": 0}
    answer = json.loads(post(runner, "/v1/chat/completions", body))
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return answer["choices"][0]["message"]["content"], usage["prompt_tokens"], cached


def unload(runner: Runner) -> None:
    post(runner, "/engines/unload", {"all": True})


def files(runner: Runner) -> list[Path]:
    return [path for path in (runner.home / STATES).rglob("*") if path.is_file()]


def test_a_conversation_goes_on_after_a_swap(runner: Runner) -> None:
    """The answer is the one that it has without a swap in between; one file holds the conversation."""
    _, tokens, cold = chat(runner, TEXT)
    answer, _, _ = chat(runner, TEXT)  # the last token alone is computed with other roundings than with all
    unload(runner)
    again, _, warm = chat(runner, TEXT)
    unload(runner)
    _, longer, further = chat(runner, TEXT, answer, "Go on.")
    unload(runner)

    assert (cold, warm) == (0, tokens - 1)
    assert again == answer
    assert tokens <= further < longer
    assert len(files(runner)) == 1


def test_a_conversation_goes_on_after_a_restart(runner: Runner) -> None:
    """The daemon saves when it stops, and finds it when it is back."""
    _, tokens, _ = chat(runner, TEXT)
    runner.stop()
    runner.start()

    assert chat(runner, TEXT)[2] == tokens - 1


def test_another_configuration_does_not_use_it(runner: Runner) -> None:
    """Its keys and values may be other ones."""
    chat(runner, TEXT)
    runner.must("configure", "ai/smollm2", "--context-size", "2048", "--", "--cache-type-k", "q8_0")

    assert chat(runner, TEXT)[2] == 0


def test_a_damaged_file_is_of_no_consequence(runner: Runner) -> None:
    """The prompt is computed as if nothing had been saved, and the file is gone."""
    answer, _, _ = chat(runner, TEXT)
    unload(runner)
    [path] = files(runner)
    with path.open("r+b") as file:
        file.seek(-5000, 2)
        file.write(bytes(100))

    assert chat(runner, TEXT)[::2] == (answer, 0)
    assert files(runner) == []


def test_an_engine_that_is_killed_leaves_nothing_half(runner: Runner) -> None:
    """What is there is whole: the next engine starts from it, or from nothing."""
    chat(runner, TEXT)
    runner.stop(signal.SIGKILL)
    runner.start()

    assert chat(runner, TEXT)[2] == 0
    assert files(runner) == []

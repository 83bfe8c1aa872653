"""The inspector as a user has it, with the real engine: ask, find, look, repeat, compare, unload, find."""

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from modelrunner.testing.gguf import tiny_gguf

if TYPE_CHECKING:
    from modelrunner.testing.daemon import Runner


@pytest.mark.engine
def test_a_request_is_found_repeated_and_compared_and_outlives_its_model(real: "Runner") -> None:
    real.must("run", "ai/smollm2", "Name a zebrafish in one word, please.")

    [found] = json.loads(real.must("requests", "--search", "zebrafish", "--json"))
    shown = real.must("requests", "show", str(found["id"]))
    again = json.loads(real.must("requests", "replay", str(found["id"]), "--set", "max_tokens=2", "--json"))
    different = real.must("requests", "diff", str(found["id"]), str(again["id"]))
    real.must("unload", "--all")
    still = json.loads(real.must("requests", "--search", "zebrafish", "--json"))

    assert found["tokens_per_second"] > 0
    assert found["prompt_tokens"] > 5
    assert found["first_token"] < found["seconds"]
    assert re.search(r"Timeline .*prompt .*tokens", shown)
    assert (found["id"], 2) == (again["replay_of"], again["completion_tokens"])
    assert "max_tokens" in different
    assert [again["id"], found["id"]] == [each["id"] for each in still]
    assert "zebrafish" in real.must("requests", "export", str(found["id"]))


def test_what_was_recorded_survives_a_daemon_that_is_killed(fake: "Runner", tmp_path: Path) -> None:
    """And its recorder goes with it."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    fake.must("run", "ai/tiny", "hello whales")
    assert 1 == len(json.loads(fake.must("requests", "--search", "whales", "--json")))
    [recorder] = [
        child
        for child in psutil.Process(fake.pid).children()
        if "modelrunner.recorder.process" in child.cmdline()
    ]

    fake.stop(signal.SIGKILL)
    recorder.wait(timeout=10)
    fake.start()

    assert 1 == len(json.loads(fake.must("requests", "--search", "whales", "--json")))

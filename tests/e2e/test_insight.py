"""Why a model is where it is, as a user asks: `dmr explain`, `dmr events` and `dmr ps` against a daemon."""

import json
import re
from pathlib import Path

import pytest

from modelrunner.testing.daemon import Runner
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.units import format_bytes


def test_a_user_can_see_what_becomes_of_a_model(fake: Runner, tmp_path: Path) -> None:
    """Before it is loaded, while it is there, and after it went."""
    fake.must("package", "--gguf", tiny_gguf(tmp_path / "tiny.gguf"), "ai/tiny")
    before = fake.must("explain", "tiny")
    fake.must("run", "tiny", "hello")
    loaded = fake.must("explain", "tiny")
    running = fake.must("ps")
    fake.must("unload", "tiny")
    after = fake.must("explain", "tiny")
    events = fake.must("events", "--model", "tiny", "--since", "1h").splitlines()

    assert "`ai/tiny` is not loaded.\n" in before
    assert "A request now loads it at once.\n" in before
    assert "A request now is served at once.\n" in loaded
    assert ["REQUESTS", "WAITING"] == running.splitlines()[0].split()[-2:]
    assert "It was unloaded less than a second ago: on command.\n" in after
    assert ["tiny", "unloaded:", "on", "command"] == events[-1].split()[2:]
    assert 4 == len(events)


@pytest.mark.engine
def test_a_real_model_is_explained_with_its_memory(real: Runner) -> None:
    """What it needs by part, what there is, and what is set aside for it once it is loaded."""
    before = json.loads(real.must("explain", "--json", "smollm2"))
    real.must("run", "smollm2", "Say hi.")
    after = real.must("explain", "smollm2")

    assert before["need"]["ram"] > before["parts"]["weights"] > 0
    assert f"It needs {format_bytes(before['need']['ram'])} of memory: " in after
    assert re.search(r"are promised to .*`ai/smollm2` \(", after)  # and to what other tests have loaded
    assert "MEMORY" in real.must("ps")

"""A daemon that is killed while it pulls tells of it when it is back, and goes on where it was."""

import http.client
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from modelrunner.store.partial import SUFFIX, present_spans
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.browser import window
from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread


def _ask(runner: Runner, method: str, path: str, body: object = None) -> Any:
    with closing(http.client.HTTPConnection("127.0.0.1", runner.port, timeout=30)) as connection:
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return json.loads(connection.getresponse().read())


def _wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline, "it did not come so far"
        time.sleep(0.02)


def test_pulls_that_a_kill_broke_off_are_shown_and_resumed(browser: Browser, tmp_path: Path) -> None:
    """Those of the web app and those of `dmr pull`; what has come is not fetched again."""
    registry = FakeRegistry()
    weights = []
    for name in ("one", "two"):
        artifact = make_artifact(random.Random(name).randbytes(6_000_000))
        registry.add(f"team/{name}", "v1", artifact.content, artifact.contents)
        weights.append(artifact.layers[0])
    with (
        serving_in_thread(registry) as url,
        running(tmp_path / "home", DMR_PULL_LIMIT="2MB") as runner,
    ):
        one, two = (f"{url.removeprefix('http://')}/team/{name}:v1" for name in ("one", "two"))
        _ask(runner, "POST", "/transfers", {"kind": "pull", "model": one})
        pulling = subprocess.Popen(
            [BIN / "dmr", "pull", two], env=runner.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        blobs = runner.home / ".docker" / "models" / "blobs" / "sha256"
        parts = [blobs / f"{blob.digest.hex}{SUFFIX}" for blob in weights]
        _wait(lambda: all(present_spans(part, blob.size) for part, blob in zip(parts, weights, strict=True)))
        kept = runner.home / ".docker" / "models" / "transfers.json"
        _wait(lambda: kept.read_text().count('"sha256:') == 2)
        runner.stop(signal.SIGKILL)
        pulling.kill()
        pulling.communicate()
        runner.start()

        left = {each["model"]: each for each in _ask(runner, "GET", "/transfers")}
        assert {one: "interrupted", two: "interrupted"} == {name: left[name]["state"] for name in left}
        assert all(0 < each["done"] < each["total"] for each in left.values()), left
        assert kept.stat().st_mode & 0o777 == 0o600
        with window(browser, runner.url) as opened:
            page = opened.show("models")
            shown = page.locator(f'[data-transfer="{one}"]')
            expect(shown).to_contain_text("Interrupted")
            expect(shown.get_by_role("progressbar")).to_be_visible()
            shown.get_by_role("button", name="Resume").click()
            expect(shown).to_contain_text("Done", timeout=20_000)
            page.get_by_role("button", name=f"Forget {two}").click()
            expect(page.locator(f'[data-transfer="{two}"]')).to_have_count(0)
            assert opened.complaints == []
        assert ["done"] == [each["state"] for each in _ask(runner, "GET", "/transfers")]
        assert not kept.exists()
        assert "Model pulled successfully" in runner.must("pull", two)

"""Run by `test_full_disk.py` where a small file system is mounted: a pull that somebody takes the disk from.

    python full_disk_program.py DISK HOME

Says what the two pulls said, as JSON.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from modelrunner.testing.artifacts import Artifact, make_artifact
from modelrunner.testing.daemon import BIN, Runner, running
from modelrunner.testing.faults import Ending, Fault, Request, cut
from modelrunner.testing.proxy import FaultProxy, fault_proxy
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving_in_thread

_MIB = 1 << 20


def _pauses(artifact: Artifact, proxy: FaultProxy) -> None:
    """Have every fetch of the larger layer fall silent after a while, until it is told to go on."""
    digest = artifact.layers[0].digest.hex

    def plan(request: Request) -> Fault | None:
        return cut(2 * _MIB, Ending.PAUSE) if request.is_blob and digest in request.target else None

    proxy.plan = plan


def _fill(disk: Path) -> Path:
    """Take all that is left of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(64 * 1024)):
            pass
    return filler


def _interrupted(runner: Runner, name: str, proxy: FaultProxy, disk: Path) -> dict[str, object]:
    process = subprocess.Popen(
        [BIN / "dmr", "pull", name],
        env=runner.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    proxy.wait_until(lambda: proxy.fetched >= 4 * _MIB)
    filler = _fill(disk)
    proxy.plan = lambda _: None
    proxy.go_on()
    _, said = process.communicate(timeout=60)
    proxy.wait_until_idle()
    kept = sum(path.stat().st_blocks * 512 for path in disk.rglob("*.incomplete"))
    listed = runner.must("list", "-q")
    filler.unlink()
    return {"code": process.returncode, "said": said, "kept": kept, "listed": listed}


def main(disk: Path, home: Path) -> None:
    """Pull while the disk fills; then again, when there is room."""
    artifact = make_artifact(os.urandom(24 * _MIB), os.urandom(2 * _MIB))
    registry = FakeRegistry()
    registry.add("team/model", "v1", artifact.content, artifact.contents)
    with (
        serving_in_thread(registry) as url,
        fault_proxy(url.removeprefix("http://")) as proxy,
        running(home, MODELS_PATH=str(disk / "models")) as runner,
    ):
        _pauses(artifact, proxy)
        name = f"{proxy.address}/team/model:v1"
        first = _interrupted(runner, name, proxy, disk)
        before = proxy.fetched
        second = runner.run("pull", name)
        print(
            json.dumps(
                {
                    **first,
                    "again": second.code,
                    "fetched": proxy.fetched - before,
                    "listed after": runner.must("list", "-q"),
                    "id": artifact.id.short,
                    "verified": runner.run("verify").code,
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A daemon whose recorder has a disk of its own that is full: a small file system, mounted in a namespace."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from urllib.request import Request, urlopen

from modelrunner.testing.daemon import fake_llama_server, running
from modelrunner.testing.gguf import tiny_gguf

disk, folder = Path(sys.argv[1]), Path(sys.argv[2])

with running(
    folder / "home",
    LLAMA_SERVER_PATH=str(fake_llama_server(folder)),
    DMR_REQUESTS_PATH=str(disk / "requests.db"),
) as daemon:
    def ask(words):
        body = {"model": "ai/tiny", "messages": [{"role": "user", "content": words}], "fake": {"tokens": 2}}
        request = Request(f"{daemon.url}/v1/chat/completions", json.dumps(body).encode(),
                          {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as reply:
            return json.load(reply)["choices"][0]["message"]["content"]

    def read(path):
        with urlopen(daemon.url + path, timeout=30) as reply:
            return reply.read().decode()

    def recorder():
        view = json.loads(read("/requests/recorder"))
        return view["state"], view["requests"], view["dropped"]

    def gauges():
        found = dict(line.rsplit(" ", 1) for line in read("/metrics").splitlines() if line[:1] != "#")
        return found["modelrunner_recorder_up"], found["modelrunner_recorder_dropped_total"]

    daemon.must("package", "--gguf", tiny_gguf(folder / "tiny.gguf"), "ai/tiny")
    assert ask("before the disk is full") == "before the"
    assert recorder() == ("ok", 1, 0), recorder()

    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    for number in range(3):
        assert ask("lost " + "x" * 200_000).startswith("lost ")
        assert recorder() == ("failing", 1, number + 1), recorder()
    assert gauges() == ("0", "3"), gauges()
    assert "before the disk" in daemon.must("requests"), daemon.must("requests")

    filler.unlink()
    assert ask("there is room again") == "there is"
    assert recorder() == ("ok", 2, 3), recorder()
    assert gauges() == ("1", "3"), gauges()
    listed = daemon.must("requests")
    assert "there is room again" in listed and "lost" not in listed, listed
# A thread writes the log; at the daemon's end all of it is there.
assert daemon.log.count("cannot be recorded") == daemon.log.count("recorded again") == 1, daemon.log
print("served all along")
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False
    ).returncode
    != 0,
    reason="needs user namespaces",
)
def test_a_daemon_serves_on_counts_what_it_cannot_record_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    script = f"mount -t tmpfs -o size=2m none {disk} && exec {sys.executable} {program} {disk} {tmp_path}"

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (0, "served all along") == (done.returncode, done.stdout.strip()), done.stderr

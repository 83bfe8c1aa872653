"""Private directories for sockets, and what is left of dead daemons."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelrunner.errors import RunnerError
from modelrunner.runtime.processes.run_directory import RunDirectory, parents, sweep

OTHER = """
import sys
from pathlib import Path
from modelrunner.runtime.processes.run_directory import RunDirectory
print(RunDirectory.create([Path(sys.argv[1])]).path, flush=True)
sys.stdin.read()
"""


def test_the_directory_is_private_and_made_for_sockets(short_path: Path) -> None:
    """Nobody else may enter, and a socket's path fits."""
    directory = RunDirectory.create([short_path])
    engine = directory.engine()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(engine / "engine.sock"))

    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(engine.stat().st_mode) == 0o700
    assert directory.engine() != engine
    directory.close()
    assert list(short_path.iterdir()) == []


def test_a_place_that_is_too_long_or_not_writable_is_passed_over(short_path: Path) -> None:
    """The next one is taken."""
    long = short_path / ("x" * 100)
    long.mkdir()
    directory = RunDirectory.create([long, short_path / "missing", short_path])

    assert directory.path.parent == short_path
    directory.close()


def test_no_place_at_all_is_told_with_reasons(short_path: Path) -> None:
    """Each with its own."""
    with pytest.raises(RunnerError, match="No such file or directory"):
        RunDirectory.create([short_path / "missing"])


def test_what_a_killed_daemon_left_is_swept(short_path: Path) -> None:
    """At the next start; what belongs to a living one stays."""
    argv = (sys.executable, "-c", OTHER, str(short_path))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        assert sweep(short_path) == 0
        assert left.is_dir()
        other.kill()
        other.wait()

    directory = RunDirectory.create([short_path])
    assert not left.exists()
    assert directory.path.is_dir()
    directory.close()


def test_a_sweep_follows_no_links(short_path: Path) -> None:
    """What a link points to is somebody else's."""
    precious = short_path / "precious"
    precious.mkdir()
    (precious / "lock").touch()
    places = short_path / "run"
    places.mkdir()
    (places / "dmr-1-1").symlink_to(precious)

    assert sweep(places) == 0
    assert precious.is_dir()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/1", "TMPDIR": "/t"}, ["/run/user/1", "/t", "/tmp"]),
        ({"TMPDIR": "relative", "XDG_RUNTIME_DIR": ""}, ["/tmp"]),
        ({}, ["/tmp"]),
    ],
)
def test_places(environ: dict[str, str], expected: list[str]) -> None:
    """The user's own runtime directory first, `/tmp` last; relative ones are none."""
    assert tuple(map(Path, expected)) == parents(environ)

"""Landlock's versions: each is asked only for what it knows. How the kernel acts: `test_confinement`."""

import os
import sys
from pathlib import Path

import pytest

from modelrunner.runtime.processes import landlock
from modelrunner.runtime.processes.landlock import (
    Access,
    Net,
    Scope,
    known_access,
    known_net,
    known_scopes,
    ruleset,
)


@pytest.mark.parametrize(
    ("abi", "unknown"),
    [
        (1, Access.REFER | Access.TRUNCATE | Access.IOCTL_DEV | Access.RESOLVE_UNIX),
        (2, Access.TRUNCATE | Access.IOCTL_DEV | Access.RESOLVE_UNIX),
        (3, Access.IOCTL_DEV | Access.RESOLVE_UNIX),
        (4, Access.IOCTL_DEV | Access.RESOLVE_UNIX),
        (5, Access.RESOLVE_UNIX),
        (6, Access.RESOLVE_UNIX),
        (9, Access(0)),
        (20, Access(0)),
    ],
)
def test_a_version_knows_what_earlier_ones_did_and_more(abi: int, unknown: Access) -> None:
    """Everything that it knows is refused unless granted."""
    assert (1 << 17) - 1 == known_access(abi) | unknown
    assert 0 == known_access(abi) & unknown


def test_ports_and_scopes_came_later() -> None:
    """With 4 and with 6."""
    assert [Net(0), Net.BIND_TCP | Net.CONNECT_TCP] == [known_net(abi) for abi in (3, 4)]
    assert [Scope(0), Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL] == [known_scopes(abi) for abi in (5, 6)]


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_the_kernel_takes_the_rules_of_its_own_and_of_every_earlier_version(tmp_path: Path) -> None:
    """Also for files, for what is not there, and for ports; one without Landlock says that it has none."""
    (tmp_path / "file").touch()
    every = known_access(99)
    grants = [(tmp_path, every), (tmp_path / "file", every), (tmp_path / "missing", every)]
    if landlock.version() == 0:
        with pytest.raises(OSError, match=r"not implemented|not supported"):
            ruleset(1, grants, ())
    for abi in range(1, min(landlock.version(), 9) + 1):
        for ports in ((), (80, 8080), None):
            descriptor = ruleset(abi, grants, ports)
            assert not os.get_inheritable(descriptor)
            os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_rules_that_the_kernel_does_not_take_leave_nothing_open(tmp_path: Path) -> None:
    """The error is the kernel's; it is the port, or that there is no Landlock, or none that knows ports."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"Invalid argument|not implemented|not supported"):
        ruleset(max(4, landlock.version()), [(tmp_path, Access.READ)], (1 << 20,))

    assert before == len(list(Path("/proc/self/fd").iterdir()))

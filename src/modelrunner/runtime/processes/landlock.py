"""Landlock: a process gives up, for itself and all that it starts, what it was not granted.

Which paths are granted is decided elsewhere; here is what the kernel calls it, version by version. A kernel
refuses a right that it does not know, so each version is asked only for what it has.
Source: linux/landlock.h and Documentation/userspace-api/landlock.rst, up to ABI 9 (Linux 7.1).
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from enum import IntFlag
from pathlib import Path

from modelrunner.runtime.processes.kernel import last_error, syscall

_CREATE_RULESET, _ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH, _NET_PORT = 1, 2


class Access(IntFlag):
    """The rights to files and directories."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16

    READ = READ_FILE | READ_DIR
    RUN = READ | EXECUTE
    DEVICE = READ | WRITE_FILE | TRUNCATE | IOCTL_DEV
    CHANGE = REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER
    WRITE = READ | WRITE_FILE | TRUNCATE | CHANGE | RESOLVE_UNIX


class Net(IntFlag):
    """The rights to TCP ports."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class Scope(IntFlag):
    """What is kept within the processes that are restricted together."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


_SINCE = {Access.REFER: 2, Access.TRUNCATE: 3, Access.IOCTL_DEV: 5, Access.RESOLVE_UNIX: 9}
_NET_SINCE = 4
_SCOPE_SINCE = 6
_OF_FILES = (
    Access.EXECUTE
    | Access.WRITE_FILE
    | Access.READ_FILE
    | Access.TRUNCATE
    | Access.IOCTL_DEV
    | Access.RESOLVE_UNIX
)


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`; an older kernel takes a longer one when what it lacks is zero."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Port(ctypes.Structure):
    """`struct landlock_net_port_attr`."""

    _fields_ = (("access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def version() -> int:
    """Ask which version of Landlock the kernel has; 0 for none, or one that is turned off."""
    return max(0, syscall()(_CREATE_RULESET, 0, 0, _VERSION, 0))


def known_access(abi: int) -> Access:
    """All rights to files that a version knows, each of which is refused unless granted."""
    every = Access((1 << 17) - 1)
    for access, since in _SINCE.items():
        if abi < since:
            every &= ~access
    return every


def known_net(abi: int) -> Net:
    """All rights to ports that a version knows."""
    return Net.BIND_TCP | Net.CONNECT_TCP if abi >= _NET_SINCE else Net(0)


def known_scopes(abi: int) -> Scope:
    """All that a version can keep within."""
    return Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL if abi >= _SCOPE_SINCE else Scope(0)


def ruleset(abi: int, grants: Iterable[tuple[Path, Access]], ports: Iterable[int] | None) -> int:
    """Make a set of rules and return its descriptor, which closes on exec and is the caller's to close.

    What is at a path that does not exist is not granted. `ports` may be listened on, and no connection may be
    made; None leaves TCP alone.

    Raises:
        OSError: the kernel does not take it.
    """
    known = known_access(abi)
    net = known_net(abi) if ports is not None else Net(0)
    attributes = _Ruleset(int(known), int(net), int(known_scopes(abi)))
    descriptor = syscall()(_CREATE_RULESET, ctypes.addressof(attributes), ctypes.sizeof(attributes), 0, 0)
    if descriptor < 0:
        raise last_error()
    try:
        for path, access in grants:
            _grant(descriptor, path, access & known)
        for port in ports or () if net else ():
            _add(descriptor, _NET_PORT, _Port(int(Net.BIND_TCP), port))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _grant(descriptor: int, path: Path, access: Access) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(beneath).st_mode):
                access &= _OF_FILES
            if access:
                _add(descriptor, _PATH_BENEATH, _Beneath(int(access), beneath))
        finally:
            os.close(beneath)


def _add(descriptor: int, kind: int, rule: ctypes.Structure) -> None:
    if syscall()(_ADD_RULE, descriptor, kind, ctypes.addressof(rule), 0) < 0:
        raise last_error()

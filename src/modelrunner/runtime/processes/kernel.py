"""Calls to Linux that Python has no function for, resolved ahead: a forked child must not load libraries."""

import ctypes
import os
from collections.abc import Callable
from functools import cache, partial

Prctl = Callable[[int, int, int, int, int], int]
Syscall = Callable[[int, int, int, int, int], int]

PR_SET_PDEATHSIG = 1  # linux/prctl.h, as the others
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def prctl() -> Prctl:
    """Find `prctl(option, …)`; it returns -1 when it fails."""
    function = _libc().prctl
    function.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    function.restype = ctypes.c_int
    return partial(function)


@cache
def syscall() -> Syscall:
    """Find `syscall(number, …)` with four arguments; it returns -1 when it fails."""
    function = _libc().syscall
    function.argtypes = (ctypes.c_long, *(ctypes.c_ulong,) * 4)
    function.restype = ctypes.c_long
    return partial(function)


def last_error() -> OSError:
    """Make an exception of the error that the last failed call left."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

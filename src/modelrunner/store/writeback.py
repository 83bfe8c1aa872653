"""Has the disk begin with what was just written, so that nobody has to wait for all of it at the end.

A hint: it promises nothing, and after it a sync is as necessary as before, only short.
"""

import ctypes
import functools
import sys
from collections.abc import Callable

AT_ONCE = 512 * 1024  # bytes of one write: for more, Linux takes larger pages, which may cost far more
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: starts what can be started, and waits for none of it


def begin_writeback(handle: int, offset: int, size: int) -> bool:
    """Have `size` bytes at `offset` written to the disk meanwhile; whether the system does so.

    Source: sync_file_range(2). It exists on Linux alone, and not on every file system.
    """
    call = _system_call()
    return call is not None and call(handle, offset, size, _WRITE) == 0


@functools.cache
def _system_call() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError):  # a libc without it
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call

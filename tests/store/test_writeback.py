import os
import sys
from pathlib import Path

import pytest

from modelrunner.store.writeback import begin_writeback


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has the call")
def test_the_disk_begins_with_what_was_written(tmp_path: Path) -> None:
    """The system takes the hint, and the bytes are as they were."""
    path = tmp_path / "blob"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(handle, bytes(1 << 20))

        assert begin_writeback(handle, 0, 1 << 20)
        assert bytes(1 << 20) == path.read_bytes()
    finally:
        os.close(handle)


def test_a_refused_hint_is_no_failure() -> None:
    """As on a file system that has no such thing: the sync at the end does it all."""
    reading, writing = os.pipe()
    try:
        assert not begin_writeback(writing, 0, 1)
    finally:
        os.close(reading)
        os.close(writing)

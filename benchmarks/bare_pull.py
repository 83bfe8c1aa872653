"""The least that a program can do to fetch a blob: receive, write and hash it, and nothing else.

What a pull is measured against, as machines differ in what those three cost together. It repairs, remembers
and tells nothing: `python -m benchmarks.bare_pull URL SIZE FILE`, with the size in bytes.
"""

import hashlib
import http.client
import os
import queue
import sys
import threading
from urllib.parse import urlsplit

_LANES = 2
_CHUNK = 16 << 20  # bytes asked for at once
_PIECE = 512 * 1024  # bytes received, written and hashed at once; writes of more cost Linux far more
_AHEAD = 96  # pieces that may wait for the hash, which is also what a pull holds


class _Blob:
    """What the lanes share: which chunk is next, the file, and the pieces on their way to the hash."""

    def __init__(self, url: str, size: int, file: int) -> None:
        self.address = urlsplit(url)
        self.size = size
        self.file = file
        self.chunks = iter(range(0, size, _CHUNK))
        self.taking = threading.Lock()
        self.arrived: queue.Queue[tuple[int, memoryview]] = queue.Queue()
        self.room = threading.Semaphore(_AHEAD)

    def lane(self) -> None:
        """Fetch one chunk after the other over one connection."""
        connection = http.client.HTTPConnection(self.address.netloc)
        while True:
            with self.taking:
                start = next(self.chunks, None)
            if start is None:
                return
            stop = min(start + _CHUNK, self.size)
            connection.request("GET", self.address.path, headers={"Range": f"bytes={start}-{stop - 1}"})
            reply = connection.getresponse()
            while start < stop:
                self.room.acquire()
                piece = memoryview(bytearray(min(_PIECE, stop - start)))
                filled = 0
                while filled < len(piece):
                    filled += reply.readinto(piece[filled:])
                os.pwrite(self.file, piece, start)
                self.arrived.put((start, piece))
                start += len(piece)
            reply.read()

    def hash(self) -> str:
        """Hash the pieces in their order."""
        state, done, early = hashlib.sha256(), 0, {}
        while done < self.size:
            start, piece = self.arrived.get()
            early[start] = piece
            while (piece := early.pop(done, memoryview(b""))) and len(piece):
                state.update(piece)
                done += len(piece)
                self.room.release()
        return state.hexdigest()


def main(url: str, size: int, path: str) -> str:
    """Fetch a blob; says its digest once it is on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    blob = _Blob(url, size, file)
    lanes = [threading.Thread(target=blob.lane) for _ in range(_LANES)]
    for lane in lanes:
        lane.start()
    digest = blob.hash()
    for lane in lanes:
        lane.join()
    os.fsync(file)
    os.close(file)
    return digest


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))

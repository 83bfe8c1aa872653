"""Files that are to be packaged are handed to the daemon by their place, if it sees the same ones.

It then reads each of them once, hashing while it copies, shares or links; what it does not see is hashed
here and sent.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.client.api import Client
from modelrunner.errors import InvalidRequest, ModelNotFound
from modelrunner.wire.transfers import TakeRequest

if TYPE_CHECKING:
    from modelrunner.models.artifacts.packaging import Tell
    from modelrunner.oci.digest import Digest

_SMALL = 16 << 20  # bytes up to which a file is sent, which costs less than asking


class Handover:
    """Hands files over, and remembers the digests of those that the daemon has now."""

    def __init__(self, client: Client, *, link: bool) -> None:
        """With `link` a file becomes the blob itself, and must not be written to any more."""
        self._client = client
        self._least = 0 if link else _SMALL
        self._link = link
        self.taken: set[Digest] = set()

    def hash(self, paths: Sequence[Path], tell: "Tell") -> "Mapping[Path, tuple[Digest, int]]":
        """Find out digests and sizes, as `packaging.hash_files` does, through the daemon where that works.

        Raises:
            InvalidRequest: a file cannot be read.
            InsufficientStorage: the daemon has no room for it.
        """
        from modelrunner.models.artifacts.packaging import hash_files

        sizes = {path: path.stat().st_size for path in dict.fromkeys(paths) if path.is_file()}
        total, done = sum(sizes.values()), 0
        hashed: dict[Path, tuple[Digest, int]] = {}
        for path, size in sizes.items():
            if size <= self._least:
                continue
            digest = self._hand_over(path, _after(done, total, tell))
            if digest is None:
                break  # it will not see the others either
            hashed[path] = (digest, size)
            self.taken.add(digest)
            done += size
        step = _after(done, total, tell)
        rest = hash_files([path for path in paths if path not in hashed], lambda now, _: step(now))
        return {**hashed, **rest}

    def _hand_over(self, path: Path, step: Callable[[int], None]) -> "Digest | None":
        """Have the daemon read a file; None when it does not see it."""
        from modelrunner.oci.digest import Digest

        seen = path.stat()
        request = TakeRequest(
            path=str(path),
            device=seen.st_dev,
            inode=seen.st_ino,
            size=seen.st_size,
            modified=seen.st_mtime_ns,
            link=self._link,
        )
        message = ""
        try:
            with closing(self._client.take(request)) as lines:
                for line in lines:
                    message = line["message"]
                    step(line["layer"]["current"])
        except (InvalidRequest, ModelNotFound):  # the latter from a daemon that knows no such route
            return None
        step(seen.st_size)
        return Digest.parse(message)


def _after(done: int, total: int, tell: "Tell") -> Callable[[int], None]:
    """Tell of the bytes of one file as what comes behind `done` of `total`."""
    return lambda now: tell(done + now, total)

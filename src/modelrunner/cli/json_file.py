"""A small JSON document that several processes change: read whole, changed under a lock, replaced at once."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelrunner.errors import StoreError

Document = dict[str, object]


def read(path: Path) -> Document:
    """Read the document; a file that is not there is an empty one.

    Raises:
        StoreError: it cannot be read, or is no JSON object.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is no text"
        raise broken(path, reason) from exc
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise broken(path, str(exc)) from exc
    if not isinstance(document, dict):
        raise broken(path, "it is no JSON object")
    return document


def broken(path: Path, reason: str) -> StoreError:
    """Make the error for a document that says nothing."""
    return StoreError(f"`{path}` cannot be read: {reason}", hint="mend the file, or remove it to begin anew")


@contextmanager
def changing(path: Path) -> Iterator[Document]:
    """Give the document out to be changed; at the end of the block it is on disk, or nothing has changed.

    Raises:
        StoreError: it cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _lock(path.with_suffix(".lock")):
            document = read(path)
            yield document
            _replace(path, json.dumps(document, indent=4, ensure_ascii=False) + "\n")
    except OSError as exc:
        raise StoreError(f"`{path}` cannot be written: {exc.strerror or exc}") from exc


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.tmp.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for the sole right to change; it goes with its process."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

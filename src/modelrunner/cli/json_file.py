"""A small JSON document that several processes change: read whole, changed under a lock, replaced at once."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelrunner.errors import StoreError

Document = dict[str, object]


def read(path: Path) -> Document:
    """Read the document; a file that is not there is an empty one.

    Raises:
        StoreError: it cannot be read, or is no JSON object.
    """
    text = read_text(path)
    return {} if text is None else parse(text, path)


def read_text(path: Path) -> str | None:
    """Read a file's text; None when it is not there.

    Raises:
        StoreError: it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is no text"
        raise broken(path, reason) from exc


def parse(text: str, path: Path) -> Document:
    """Read a document's text; `path` is for messages.

    Raises:
        StoreError: it is no JSON object.
    """
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
    with locked(path):
        document = read(path)
        yield document
        write(path, document)


def write(path: Path, document: Document) -> None:
    """Write a document that we alone change just now, so that people can read it.

    Raises:
        StoreError: it cannot be written.
    """
    replace(path, json.dumps(document, indent=4, ensure_ascii=False) + "\n")


def replace(path: Path, text: str) -> None:
    """Have a file with this text, at once: whoever reads it, or a crash, finds the old one or the new one.

    A link leads on to what it names, and the file keeps its permissions and its owner; a new one is the
    user's alone.

    Raises:
        StoreError: it cannot be written; then it is as it was.
    """
    try:
        _replace(path.resolve(), text.encode())
    except (OSError, RuntimeError) as exc:  # the latter is a link that leads to itself
        raise unwritable(path, exc) from exc


def unwritable(path: Path, exc: Exception) -> StoreError:
    """Make the error for a file that cannot be written."""
    return StoreError(f"`{path}` cannot be written: {getattr(exc, 'strerror', None) or exc}")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the sole right to change a file, which is given by another one beside it; makes their folder.

    Raises:
        StoreError: that other file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as exc:
        raise unwritable(path, exc) from exc
    try:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)  # it goes with its process
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    before = path.stat() if path.exists() else None
    partial = path.with_name(f"{path.name}.tmp.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if before is not None and sys.platform != "win32":
                made = os.fstat(descriptor)
                if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, before.st_mode & 0o7777)
            os.fsync(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if sys.platform != "win32":  # so that the name survives a power failure too; Windows needs no such call
        with suppress(OSError):  # the file is there; not every folder may be read, or is synced
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

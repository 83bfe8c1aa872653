"""Files of other programs that have something of ours in them while an app runs, and are then as they were.

Several launches share the files. What is to be given back is written into a book first, and every launch
holds a lock for as long as it lives: whoever finds itself alone gives back, be it the last that ends or the
first that begins after one was killed.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli import json_file
from modelrunner.cli.json_file import Document, read_text, unwritable
from modelrunner.errors import RunnerError, StoreError


class Loan(NamedTuple):
    """A file, and what is lent to it; all three functions are pure."""

    path: Path
    put: Callable[[Document], Document]  # ours in
    take: Callable[[Document, Document], Document]  # ours out again; the second is the file as it was before
    swept: Callable[[Document], Document]  # without what a launch has left of which nothing is written down
    hint: str  # what to do about a file that cannot be read

    def read(self, text: str | None) -> Document:
        """Read the file's text; one that is missing or empty has nothing in it.

        Raises:
            StoreError: it is no plain JSON; writing it anew would lose what it is instead, such as comments.
        """
        if text is None or not text.strip():
            return {}
        try:
            return json_file.parse(text, self.path)
        except StoreError as exc:
            raise StoreError(f"{exc.message}; nothing was changed", hint=self.hint) from exc


@contextmanager
def lent(loans: Sequence[Loan], book: Path) -> Iterator[None]:
    """Lend for as long as the block lasts, and longer while others run that do the same.

    Raises:
        StoreError: a file cannot be read or written; what was lent is back then.
    """
    with _alive(book) as life:
        with json_file.locked(book):
            if _is_alone(life):
                _give_back(loans, book)
            try:
                _lend(loans, book)
            except BaseException:
                _end(loans, book, life)
                raise
            _share(life)
        try:
            yield
        finally:
            with suppress(RunnerError), json_file.locked(book):
                _end(loans, book, life)  # what fails here is tried again by the next launch


def settle(loans: Sequence[Loan], book: Path) -> None:
    """Give back what launches have left that were killed, unless there are others.

    Raises:
        StoreError: a file cannot be read or written.
    """
    if book.exists():
        with _alive(book) as life, json_file.locked(book):
            _end(loans, book, life)


def _lend(loans: Sequence[Loan], book: Path) -> None:
    """Write the book, then the files: what is in a file is always in the book."""
    pages = json_file.read(book)
    texts = {}
    for loan in loans:
        now = read_text(loan.path)
        document = loan.read(now)
        page = pages.get(str(loan.path))
        if not isinstance(page, dict):
            swept = loan.swept(document)
            page = {"before": now if swept == document else _text(swept)}
            document = swept
        elif page.get("written") != now:
            page["written_by_others"] = True
        texts[loan.path] = page["written"] = _text(loan.put(document))
        pages[str(loan.path)] = page
    json_file.write(book, pages)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise unwritable(path, exc) from exc
        json_file.replace(path, text)


def _end(loans: Sequence[Loan], book: Path, life: int) -> None:
    if _is_alone(life):
        _give_back(loans, book)


def _give_back(loans: Sequence[Loan], book: Path) -> None:
    """Take out of the files what the book says; in this order, so that a second attempt does no harm."""
    pages = json_file.read(book)
    for loan in loans:
        page = pages.get(str(loan.path))
        now = read_text(loan.path)
        if not isinstance(page, dict) or now is None:
            continue
        before = page.get("before")
        before = before if isinstance(before, str) else None
        if now == page.get("written") and not page.get("written_by_others"):
            _restore(loan.path, before)
        else:
            document = loan.read(now)
            left = loan.take(document, loan.read(before))
            if left != document:
                json_file.replace(loan.path, _text(left))
    with suppress(OSError):
        book.unlink()


def _restore(path: Path, before: str | None) -> None:
    if before is not None:
        json_file.replace(path, before)
        return
    try:
        path.unlink()
    except OSError as exc:
        raise unwritable(path, exc) from exc


def _text(document: Document) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def _alive(book: Path) -> Iterator[int]:
    """Open what tells others, by locks on it, that we live."""
    path = book.with_suffix(".alive")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by the app
    except OSError as exc:
        raise unwritable(path, exc) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


if sys.platform == "win32":  # which has no locks that are shared; two launches there are told apart by nobody

    def _is_alone(life: int) -> bool:
        return life >= 0

    def _share(life: int) -> None:
        pass
else:
    import fcntl

    def _is_alone(life: int) -> bool:
        """Whether nobody else lives; asked under the lock of the book."""
        try:
            fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _share(life: int) -> None:
        """Live beside others."""
        fcntl.flock(life, fcntl.LOCK_SH)

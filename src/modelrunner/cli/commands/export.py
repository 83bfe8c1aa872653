"""`export`: models go into an archive, which `load` reads here or elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from modelrunner.cli.ending import ending_in_order
from modelrunner.cli.output import emit, is_terminal, note
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import meter
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest, RunnerError
from modelrunner.wire.transfers import ExportRequest

_STDOUT = "-"


def configure(parser: Parser) -> None:
    """Take models, and where the archive goes."""
    parser.words("(MODEL [MODEL...] | --list-blobs)")
    parser.add_argument(
        "-o", "--output", metavar="file", default=_STDOUT, help="Write to a file, instead of stdout"
    )
    parser.add_argument(
        "--except",
        dest="left_out",
        metavar="file",
        help="Leave out blobs whose digests this file lists, one a line",
    )
    parser.switch("--oci", help="Write an OCI image layout only, for programs that want nothing else in it")
    parser.switch("--list-blobs", help="List the digests of all blobs here, for --except on another machine")


def run(args: Namespace, session: Session) -> int:
    """Write the archive, or the list; a file appears when it is complete."""
    if args.list_blobs:
        if args.words:
            raise args.parser.wrong("--list-blobs takes no MODEL.")
        emit("".join(f"{digest}\n" for digest in session.client().blobs()))
        return 0
    if not args.words:
        raise args.parser.wrong(f"'{args.parser.prog}' requires at least 1 argument(s).")
    if args.output == _STDOUT and is_terminal(sys.stdout):
        raise InvalidRequest("an archive is not for a terminal", hint="name a file with `-o`, or use a pipe")
    request = ExportRequest(models=args.words, oci=args.oci)
    if args.left_out is not None:
        request["except"] = read_digests(Path(args.left_out))
    with ending_in_order(), _output(args.output) as write:
        _export(request, write, session)
    if args.output != _STDOUT:
        note(f"Exported to `{args.output}`")
    return 0


def read_digests(path: Path) -> list[str]:
    """Read a list of digests, one a line; empty lines and those that begin with `#` say nothing.

    Raises:
        InvalidRequest: the file cannot be read.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"cannot read `{path}`: {_reason(exc)}") from exc
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _export(request: ExportRequest, write: Callable[[bytes], None], session: Session) -> None:
    total = done = 0

    def learn(size: int) -> None:
        nonlocal total
        total = size

    archive = session.client().export(request, on_size=learn)
    with meter("export", sys.stderr) as shown, closing(archive) as pieces:
        for piece in pieces:
            write(piece)
            done += len(piece)
            shown.show("archive", done, total, total)


@contextmanager
def _output(name: str) -> Iterator[Callable[[bytes], None]]:
    """Open what is written to: stdout, a file that appears when it is complete, or a device or pipe as it is.

    Raises:
        RunnerError: it cannot be opened or written.
    """
    if name == _STDOUT:
        yield emit
        return
    path = Path(name).expanduser()
    whole = path.is_file() or not path.exists()
    target = path.with_name(f".{path.name}.{os.getpid()}.part") if whole else path
    try:
        with _explaining(path):
            file = target.open("xb" if whole else "wb", buffering=0)

        def write(piece: bytes) -> None:
            left = memoryview(piece)
            while left:
                with _explaining(path):
                    left = left[file.write(left) or 0 :]

        with file:
            yield write
        with _explaining(path):
            if whole:
                target.replace(path)
    finally:
        if whole:
            target.unlink(missing_ok=True)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise RunnerError(f"cannot write `{path}`: {_reason(exc)}") from exc


def _reason(exc: Exception) -> str:
    return ((isinstance(exc, OSError) and exc.strerror) or str(exc)).lower()

"""`load`: models come from an archive, a stream of one, or a folder that is an OCI image layout."""

import sys
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

from modelrunner.cli.blocking import walk
from modelrunner.cli.output import clean, is_terminal, note, say
from modelrunner.cli.parse import Namespace, Parser
from modelrunner.cli.progress import meter
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest

_STDIN = "-"
_PIECE = 1 << 20  # bytes


class _Archive(NamedTuple):
    """A tar stream; `size` is in bytes, None for one whose end is not known before it comes."""

    pieces: Generator[bytes, None, None]
    size: int | None


def configure(parser: Parser) -> None:
    """Take one archive."""
    parser.words("[FILE | DIRECTORY | -]", most=1)
    parser.add_argument(
        "-i", "--input", metavar="file", help="Read from a file or a folder, instead of stdin"
    )


def run(args: Namespace, session: Session) -> int:
    """Send the archive to the daemon, and print which models it had."""
    if args.input is not None and args.words:
        raise args.parser.wrong("The archive is named twice.")
    archive = _open(args.input or (args.words[0] if args.words else _STDIN))
    for message in _send(archive, session):
        say(clean(message))
    note("Model loaded successfully")
    return 0


def _open(name: str) -> _Archive:
    if name == _STDIN:
        if is_terminal(sys.stdin):
            raise InvalidRequest(
                "an archive does not come from a terminal", hint="name a file, or use a pipe"
            )
        return _Archive(_read(sys.stdin.buffer, "stdin"), None)
    path = Path(name).expanduser()
    if path.is_dir():
        return _open_folder(path)
    try:
        file = path.open("rb")
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{name}`: {(exc.strerror or str(exc)).lower()}") from exc
    return _Archive(_read(file, name), path.stat().st_size if path.is_file() else None)


def _open_folder(path: Path) -> _Archive:
    """Make an archive of a folder while it is sent."""
    from modelrunner.oci.image_layout import Directory, Selection, image_layout

    folder = Directory(path)
    selection = Selection(folder.models)
    return _Archive(walk(image_layout(folder, selection)), selection.size)


def _read(file: BinaryIO, name: str) -> Generator[bytes, None, None]:
    with file:
        while piece := _piece(file, name):
            yield piece


def _piece(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read(_PIECE)
    except OSError as exc:
        raise InvalidRequest(f"cannot read `{name}`: {(exc.strerror or str(exc)).lower()}") from exc


def _send(archive: _Archive, session: Session) -> list[str]:
    """Send an archive; returns what the daemon says of each model."""
    with meter("load", sys.stderr) as shown:

        def counted() -> Generator[bytes, None, None]:
            sent = 0
            with closing(archive.pieces) as pieces:
                for piece in pieces:
                    yield piece
                    sent += len(piece)
                    if archive.size is not None:
                        shown.show("archive", sent, archive.size, archive.size)

        with closing(counted()) as body, closing(session.client().load(body, archive.size)) as lines:
            return [line["message"] for line in lines if line["type"] == "progress" and line["message"]]

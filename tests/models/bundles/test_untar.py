"""Archives, unpacked with care."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles import untar
from modelrunner.models.bundles.untar import extract


def entry(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.tar"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_directories_and_files_are_unpacked(archive: Path, into: Path, compressed: bool) -> None:
    """With their contents; the executable bit stays, and nothing else of the mode."""
    data = tar(
        (entry("./", kind=tarfile.DIRTYPE), b""),
        (entry("empty", kind=tarfile.DIRTYPE), b""),
        (entry("./config.json"), b"{}"),
        (entry("sub/run.sh", mode=0o4777), b"#!"),
        (entry("large.bin"), b"x" * (3 << 20)),
    )
    archive.write_bytes(gzip.compress(data) if compressed else data)

    extract(archive, into, compressed=compressed)

    assert {"config.json": b"{}", "sub/run.sh": b"#!", "large.bin": b"x" * (3 << 20)} == tree(into)
    assert (into / "empty").is_dir()
    assert (into / "sub" / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert (into / "config.json").stat().st_mode & 0o7777 == 0o644


def test_links_and_devices_are_skipped(archive: Path, into: Path) -> None:
    """A link could lead the next entry outside."""
    archive.write_bytes(
        tar(
            (entry("out", kind=tarfile.SYMTYPE, link="/etc"), b""),
            (entry("hard", kind=tarfile.LNKTYPE, link="config.json"), b""),
            (entry("null", kind=tarfile.CHRTYPE), b""),
            (entry("fifo", kind=tarfile.FIFOTYPE), b""),
            (entry("out/passwd"), b"data"),
        )
    )

    extract(archive, into)

    assert {"out/passwd": b"data"} == tree(into)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_name_that_leads_outside_is_refused(archive: Path, into: Path, name: str) -> None:
    """For files and directories."""
    for kind in (tarfile.REGTYPE, tarfile.DIRTYPE):
        archive.write_bytes(tar((entry(name, kind=kind), b"")))

        with pytest.raises(UnsupportedModel, match="unsafe path"):
            extract(archive, into)

    assert {} == tree(into.parent / "into")
    assert not (into.parent / "evil").exists()


def test_an_existing_file_is_replaced_not_written_into(archive: Path, into: Path, tmp_path: Path) -> None:
    """It may be linked to a blob."""
    blob = tmp_path / "blob"
    blob.write_bytes(b"precious")
    (into / "config.json").hardlink_to(blob)
    archive.write_bytes(tar((entry("config.json"), b"new")))

    extract(archive, into)

    assert blob.read_bytes() == b"precious"
    assert (into / "config.json").read_bytes() == b"new"


@pytest.mark.parametrize("data", [b"no tar at all" * 100, tar((entry("a"), b"x" * 5000))[:2000]])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_broken_archive_is_refused(archive: Path, into: Path, data: bytes, compressed: bool) -> None:
    """Cut off, or something else."""
    archive.write_bytes(gzip.compress(data)[:-5] if compressed else data)

    with pytest.raises(UnsupportedModel, match="unreadable archive"):
        extract(archive, into, compressed=compressed)


def test_an_archive_of_the_wrong_compression_is_refused(archive: Path, into: Path) -> None:
    """Its type said gzip."""
    archive.write_bytes(tar((entry("a"), b"x")))

    with pytest.raises(UnsupportedModel, match="unreadable archive"):
        extract(archive, into, compressed=True)


def test_a_bomb_is_refused(archive: Path, into: Path) -> None:
    """A small archive may not fill the disk."""
    info = entry("bomb")
    info.size = 1 << 40
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))

    with pytest.raises(UnsupportedModel, match="unpacks to too much"):
        extract(archive, into, compressed=True)


def test_a_header_may_not_claim_the_memory(archive: Path, into: Path) -> None:
    """Extended headers are read whole, so their length is limited."""
    info = entry("pax", kind=tarfile.XHDTYPE)
    info.size = untar._MAX_HEADER + 1
    archive.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    with archive.open("r+b") as file:
        file.truncate(untar._MAX_HEADER * 2)

    with pytest.raises(UnsupportedModel, match="senseless length"):
        extract(archive, into)


def test_more_entries_than_are_plausible_are_refused(archive: Path, into: Path) -> None:
    """Files cost more than their bytes."""
    archive.write_bytes(tar(*((entry(f"{i}"), b"") for i in range(4))))

    with pytest.raises(UnsupportedModel, match="unpacks to too much"):
        extract(archive, into, max_entries=3)

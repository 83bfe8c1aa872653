"""Write, as a tar archive on stdout, a small root file system with this machine's Python and a shell.

It is what `docker import` makes an image of where none can be pulled, for the test of the runner's container:
    python -m scripts.make_container_base | docker import - base
"""

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

SHELL = ("sh", "cat", "chmod", "chown", "cp", "env", "ln", "ls", "mkdir", "rm", "sleep", "uname")
# What Python needs of its library, but for tests and what draws windows.
LEFT_OUT = {"__pycache__", "config-3", "idlelib", "lib2to3", "site-packages", "test", "tests", "tkinter"}
# Of llama.cpp, and what older programs think is apart from the C library.
LIBRARIES = ("libgomp.so.1", "libstdc++.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1")
FOLDERS = ("etc", "tmp", "proc", "sys", "dev", "root")
LINKS = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/bin"}
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


def libraries(programs: list[Path]) -> set[Path]:
    """Find every shared library that the programs are linked with."""
    text = subprocess.run(
        ["ldd", *map(str, programs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout
    words = (line.split() for line in text.splitlines())
    found = {word for line in words for word in line if word.startswith("/") and not word.endswith(":")}
    return {Path(word) for word in found}


def below_usr(path: Path) -> str:
    """Name a library where a system with one `/usr` has it."""
    name = str(path).removeprefix("/")
    if name.startswith(("lib/", "lib64/")):
        return f"usr/{name}"
    return name if name.startswith("usr/lib") else f"usr/lib/{path.name}"


def system_library(name: str) -> Path:
    """Find a library of the system's by its name."""
    listing = subprocess.run(["/sbin/ldconfig", "-p"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return next(
        Path(line.rpartition("=> ")[2]) for line in listing.splitlines() if line.strip().startswith(name)
    )


def main() -> int:
    python = Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]  # noqa: SLF001 - of a venv
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    programs = {name: Path(os.path.realpath(shutil.which(name) or "")) for name in SHELL}
    modules = list(library.glob("lib-dynload/*.so"))
    shared = libraries([python, *modules, *programs.values()]) | {system_library(name) for name in LIBRARIES}

    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", dereference=True) as archive:
        places = [
            *map(below_usr, shared),
            f"usr/local/lib/python{version}",
            "usr/bin/sh",
            "usr/local/bin/python3",
        ]
        parents = {str(parent) for place in places for parent in Path(place).parents} - {"."}
        for name in sorted({*FOLDERS, *parents}):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        links = LINKS | {"usr/local/bin/python3": f"python{version}"}
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, text in FILES.items():
            file = tarfile.TarInfo(name)
            file.size = len(text)
            archive.addfile(file, io.BytesIO(text.encode()))
        for path in sorted(shared):
            archive.add(path, below_usr(path))
        for name, path in programs.items():
            archive.add(path, f"usr/bin/{name}")
        archive.add(python, f"usr/local/bin/python{version}")
        archive.add(library, f"usr/local/lib/python{version}", filter=_kept)
    return 0


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    names = entry.name.split("/")[4:]
    if any(name in LEFT_OUT or name.startswith("config-3") for name in names) or entry.name.endswith(".a"):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


if __name__ == "__main__":
    sys.exit(main())

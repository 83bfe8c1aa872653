"""An engine that tries to get out: it listens and is healthy, and does what it is told to beyond that.

    python -m modelrunner.testing.escape --host /run/x.sock read:/etc/shadow connect:127.0.0.1:22

It prints a line for each attempt, `read:/etc/shadow refused PermissionError 13`, or `… done` and what came of
it; variables of the environment may stand in what it is told. Then it serves `/health` until it is ended.
"""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def _read(path: str) -> str:
    return f"{len(Path(path).read_bytes())} bytes"


def _list(path: str) -> str:
    return f"{len(os.listdir(path))} names"  # noqa: PTH208 - as short as can be


def _append(path: str) -> str:
    with Path(path).open("ab") as file:
        file.write(b"escaped")
    return "written"


def _truncate(path: str) -> str:
    os.truncate(path, 0)
    return "emptied"


def _link(path: str) -> str:
    """Have a name of one's own for a file that is out of reach, and write to it by that."""
    name = Path(os.environ["TMPDIR"], "link")
    name.hardlink_to(path)
    return _append(str(name))


def _symlink(path: str) -> str:
    name = Path(os.environ["TMPDIR"], "symlink")
    name.symlink_to(path)
    return _read(str(name))


def _connect(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        return "connected"


def _fast_open(address: str) -> str:
    """Connect by sending, which some kernels do not take for a connection."""
    host, _, port = address.rpartition(":")
    with socket.socket() as sock:
        sock.sendto(b"x", 0x20000000, (host, int(port)))  # MSG_FASTOPEN
        return "connected"


def _bind(port: str) -> str:
    with socket.create_server(("127.0.0.1", int(port))):
        return "listening"


def _datagram(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return f"{sock.sendto(b'secret', (host, int(port)))} bytes"


def _unix(path: str) -> str:
    """Connect to a Unix socket; one that begins with `@` is abstract."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        return "connected"


def _unix_datagram(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return f"{sock.sendto(b'secret', path)} bytes"


def _ring(_: str) -> str:
    """Make a ring of asynchronous calls, through which everything else can be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    if libc.syscall(425, 4, parameters) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "made"


def _signal(pid: str) -> str:
    os.kill(int(pid), 0)
    return "may be sent signals"


def _trace(pid: str) -> str:
    """Attach to another process, as a debugger does, and let it go."""
    libc = ctypes.CDLL(None, use_errno=True)
    attach, detach = 16, 17
    if libc.ptrace(attach, int(pid), None, None) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.waitpid(int(pid), 0)
    libc.ptrace(detach, int(pid), None, None)
    return "attached"


def _run(program: str) -> str:
    """Run `id`, or a copy of it that is another user's by its set-user-id bit; say who it was."""
    done = subprocess.run([program, "-u"], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def _status(name: str) -> str:
    """A line of what the kernel says of us: `NoNewPrivs`, `CapBnd`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def _limits(_: str) -> str:
    import resource  # noqa: PLC0415 - not on every system

    names = ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_FSIZE")
    return " ".join(f"{name}={resource.getrlimit(getattr(resource, name))}" for name in names)


def _workers(count: str) -> str:
    """Start processes that ignore signals; every other one leaves the group."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    argv = [sys.executable, "-c", code]
    pids = [subprocess.Popen(argv, start_new_session=bool(n % 2)).pid for n in range(int(count))]
    return " ".join(map(str, pids))


def _environment(name: str) -> str:
    return os.environ.get(name, "")


ATTEMPTS: Mapping[str, Callable[[str], str]] = {
    "read": _read,
    "list": _list,
    "append": _append,
    "truncate": _truncate,
    "link": _link,
    "symlink": _symlink,
    "connect": _connect,
    "fast-open": _fast_open,
    "bind": _bind,
    "datagram": _datagram,
    "unix": _unix,
    "unix-datagram": _unix_datagram,
    "ring": _ring,
    "signal": _signal,
    "trace": _trace,
    "run": _run,
    "status": _status,
    "limits": _limits,
    "workers": _workers,
    "environment": _environment,
}


def attempt(text: str) -> str:
    """Try something; say what came of it."""
    name, _, argument = text.partition(":")
    try:
        return f"{text} done {ATTEMPTS[name](os.path.expandvars(argument))}"
    except OSError as exc:
        return f"{text} refused {type(exc).__name__} {exc.errno}"


async def serve(where: Sequence[str]) -> None:
    """Be healthy, on a Unix socket or a port, until a signal."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    host = where[where.index("--host") + 1]
    if host.endswith(".sock"):
        await asyncio.start_unix_server(answer, host)
    else:
        await asyncio.start_server(answer, host, int(where[where.index("--port") + 1]))
    await over.wait()


def main(arguments: Sequence[str]) -> None:
    """Make the attempts, then serve."""
    for text in arguments:
        if text.partition(":")[0] in ATTEMPTS:
            print(attempt(text), flush=True)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])

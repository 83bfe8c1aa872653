"""The filter of system calls, run by a small machine of its own; the kernel runs it in `test_confinement`."""

import errno
import platform
import socket
import struct
import sys
from pathlib import Path

import pytest

from modelrunner.runtime.processes import seccomp
from modelrunner.runtime.processes.seccomp import ARCHITECTURES, Architecture, program

ALLOWED = 0x7FFF0000


def run(code: bytes, audit: int, number: int, *arguments: int) -> int:
    """What a filter says to a call: 0 to let it pass, else the error. Source: linux/filter.h."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    instructions = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator = counter = 0
    while True:
        kind, when_true, when_false, operand = instructions[counter]
        counter += 1
        if kind == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif kind == 0x54:
            accumulator &= operand
        elif kind == 0x06:
            return 0 if operand == ALLOWED else operand & 0xFFFF
        else:
            tests = {
                0x15: accumulator == operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }
            counter += when_true if tests[kind] else when_false


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> Architecture:
    return ARCHITECTURES[request.param]


@pytest.mark.parametrize("tcp", [False, True])
def test_an_engine_that_only_answers_makes_streams_and_connects_nowhere(
    architecture: Architecture, tcp: bool
) -> None:
    """Of Unix, and of TCP where it listens on a port; to ask for addresses is harmless."""
    code = program(architecture, answers_only=True, tcp=tcp)

    def make(family: int, kind: int, protocol: int = 0) -> int:
        return run(code, architecture.audit, architecture.calls["socket"], family, kind, protocol)

    stream, datagram, flags = socket.SOCK_STREAM, socket.SOCK_DGRAM, 0o2004000
    denied = 0 if tcp else errno.EACCES
    assert 0 == make(socket.AF_UNIX, stream | flags)
    assert denied == make(socket.AF_INET, stream) == make(socket.AF_INET6, stream, socket.IPPROTO_TCP)
    assert 0 == make(16, socket.SOCK_RAW)
    others = [
        (socket.AF_UNIX, datagram),
        (socket.AF_INET, datagram),
        (socket.AF_INET6, socket.SOCK_RAW),
        (40, stream),
    ]
    assert {errno.EACCES} == {make(family, kind) for family, kind in others}
    assert errno.EACCES == make(socket.AF_INET, stream, 262) == make(16, socket.SOCK_RAW, 15)
    assert errno.EACCES == run(code, architecture.audit, architecture.calls["connect"], 3)


@pytest.mark.parametrize(("call", "flags_at"), [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)])
def test_sending_is_no_way_to_connect(architecture: Architecture, call: str, flags_at: int) -> None:
    """The flag that opens a connection is refused, others are not."""
    code = program(architecture, answers_only=True, tcp=True)

    def send(flags: int) -> int:
        arguments = [3, 0, 0, 0]
        arguments[flags_at] = flags
        return run(code, architecture.audit, architecture.calls[call], *arguments)

    assert 0 == send(socket.MSG_NOSIGNAL)
    assert errno.EACCES == send(0x20000000 | socket.MSG_NOSIGNAL)


def test_an_engine_whose_processes_talk_may_connect(architecture: Architecture) -> None:
    """Rings and keys are refused to it all the same."""
    code = program(architecture, answers_only=False, tcp=True)
    calls = architecture.calls

    assert 0 == run(code, architecture.audit, calls["connect"], 3)
    assert 0 == run(code, architecture.audit, calls["socket"], socket.AF_INET, socket.SOCK_DGRAM)
    assert errno.ENOSYS == run(code, architecture.audit, calls["io_uring_setup"])
    assert {errno.EPERM} == {
        run(code, architecture.audit, calls[name]) for name in ("keyctl", "add_key", "request_key")
    }


def test_other_ways_to_number_calls_are_no_way_round(architecture: Architecture) -> None:
    """Those of 32-bit programs, for which the filter has no numbers."""
    code = program(architecture, answers_only=True, tcp=False)

    assert errno.ENOSYS == run(code, 0x40000003, 1)
    assert errno.ENOSYS == run(code, architecture.audit, 0x40000000 | architecture.calls["connect"])
    assert 0 == run(code, architecture.audit, 0)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ARCHITECTURES, reason="filters are Linux's"
)
def test_asking_whether_there_are_filters_installs_none() -> None:
    """A process can ask and go on as before."""
    before = _seccomp()
    assert seccomp.has_filters(ARCHITECTURES[platform.machine()]) in {True, False}

    assert before == _seccomp()


def _seccomp() -> list[str]:
    """What the kernel says of this process's filters. Source: proc_pid_status(5)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Seccomp", "NoNewPrivs"))]

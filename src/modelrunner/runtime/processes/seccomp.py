"""A filter of system calls, for what Landlock does not see: datagrams, and connections to Unix sockets.

The sockets of a user's session, of a container engine or of a system bus run programs for whoever connects.
An engine that only answers has no use for `connect` at all. Rings of asynchronous calls go round filters, and
keys belong to the user, so both are refused always. Pure but for `has_filters`.
Source: linux/seccomp.h, linux/filter.h, linux/audit.h and the tables of system calls of both architectures.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from modelrunner.runtime.processes.kernel import syscall

SET_MODE_FILTER = 1
# Without it, older kernels also turn a guard against speculation on, which costs a tenth of the speed.
SPEC_ALLOW = 1 << 2

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets into `struct seccomp_data`
_FOREIGN = 0x40000000  # x32 calls have this bit
_TYPE_MASK = 0xF  # a socket's type without its flags
_MSG_FASTOPEN = 0x20000000  # connects while it sends
_NETLINK = 16  # how libraries learn which addresses this machine has


class _Code(IntEnum):
    """Instructions of the filter."""

    LOAD = 0x20
    EQUAL = 0x15
    AT_LEAST = 0x35
    ANY_BIT = 0x45
    AND = 0x54
    RETURN = 0x06


@dataclass(frozen=True, slots=True)
class Architecture:
    """What calls are numbered as."""

    audit: int
    calls: dict[str, int]


ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E,
        {
            "socket": 41,
            "connect": 42,
            "sendto": 44,
            "sendmsg": 46,
            "sendmmsg": 307,
            "seccomp": 317,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "io_uring_setup": 425,
        },
    ),
    "aarch64": Architecture(
        0xC00000B7,
        {
            "socket": 198,
            "connect": 203,
            "sendto": 206,
            "sendmsg": 211,
            "sendmmsg": 269,
            "seccomp": 277,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "io_uring_setup": 425,
        },
    ),
}

_Instruction = tuple[_Code, int, int, int]  # code, how many to skip when true, and when false, operand


def program(architecture: Architecture, *, answers_only: bool, tcp: bool) -> bytes:
    """Write the filter; with `answers_only` nothing connects, and sockets are for Unix, or for `tcp` too."""
    calls = architecture.calls
    blocks = [_refuse(calls["io_uring_setup"], errno.ENOSYS)]
    blocks += [_refuse(calls[name], errno.EPERM) for name in ("keyctl", "add_key", "request_key")]
    if answers_only:
        blocks.append(_refuse(calls["connect"], errno.EACCES))
        for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
            blocks.append(_refuse_bit(calls[name], flags, _MSG_FASTOPEN))
        blocks.append(_only_sockets(calls["socket"], tcp=tcp))
    body = [
        *((_Code.LOAD, 0, 0, _ARCHITECTURE), (_Code.EQUAL, 1, 0, architecture.audit)),
        _failing(errno.ENOSYS),
        *((_Code.LOAD, 0, 0, _NUMBER), (_Code.AT_LEAST, 0, 1, _FOREIGN)),
        _failing(errno.ENOSYS),
        *(instruction for block in blocks for instruction in block),
        (_Code.RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in body)


def has_filters(architecture: Architecture) -> bool:
    """Whether the kernel takes filters: it then looks for one where we say that there is none."""
    refused = syscall()(architecture.calls["seccomp"], SET_MODE_FILTER, SPEC_ALLOW, 0, 0) < 0
    return refused and ctypes.get_errno() == errno.EFAULT


class Filter:
    """A program in memory, as the kernel wants to be pointed at it."""

    def __init__(self, code: bytes) -> None:
        """Keep the code; `address` is valid for as long as this is there."""
        self._code = ctypes.create_string_buffer(code, len(code))
        header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(self._code))
        self._header = ctypes.create_string_buffer(header, len(header))
        self.address = ctypes.addressof(self._header)


def _failing(number: int) -> _Instruction:
    return (_Code.RETURN, 0, 0, _ERRNO | number)


def _argument(index: int) -> _Instruction:
    return (_Code.LOAD, 0, 0, _ARGUMENTS + 8 * index)  # its lower half; both architectures are little-endian


def _for(number: int, body: Iterable[_Instruction]) -> list[_Instruction]:
    inner = list(body)
    return [(_Code.LOAD, 0, 0, _NUMBER), (_Code.EQUAL, 0, len(inner), number), *inner]


def _refuse(number: int, error: int) -> list[_Instruction]:
    return _for(number, [_failing(error)])


def _refuse_bit(number: int, argument: int, bit: int) -> list[_Instruction]:
    return _for(number, [_argument(argument), (_Code.ANY_BIT, 0, 1, bit), _failing(errno.EACCES)])


def _only_sockets(number: int, *, tcp: bool) -> list[_Instruction]:
    """Let streams of Unix, and of TCP if wanted, be made, and what tells the machine's addresses."""
    families = [socket.AF_UNIX, *((socket.AF_INET, socket.AF_INET6) if tcp else ())]
    body = [instruction for family in families for instruction in _stream_of(family)]
    body += [_argument(0), (_Code.EQUAL, 0, 3, _NETLINK), _argument(2), (_Code.EQUAL, 0, 1, 0)]
    return _for(number, [*body, (_Code.RETURN, 0, 0, _ALLOW), _failing(errno.EACCES)])


def _stream_of(family: int) -> Iterator[_Instruction]:
    protocols = (0, socket.IPPROTO_TCP)  # others, such as MPTCP, are no business of Landlock's
    yield from (_argument(0), (_Code.EQUAL, 0, 7, family))
    yield from (_argument(1), (_Code.AND, 0, 0, _TYPE_MASK), (_Code.EQUAL, 0, 4, socket.SOCK_STREAM))
    yield _argument(2)
    yield from ((_Code.EQUAL, 1, 0, protocols[0]), (_Code.EQUAL, 0, 1, protocols[1]))
    yield (_Code.RETURN, 0, 0, _ALLOW)

"""Digests: the one type by which content is named, and the only one that may become a path."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from modelrunner.errors import InvalidRequest

_LENGTHS = {"sha256": 64, "sha512": 128}  # hexadecimal digits
_GRAMMAR = re.compile(r"(sha256|sha512):([0-9a-f]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Digest:
    """The name of some bytes: an algorithm and its hash in lower-case hexadecimal.

    Whoever holds a Digest holds a valid one, so its parts are safe in a path.
    Source: OCI image-spec v1.1, descriptor.md, "Digests"; CVE-2024-37032 is why no text becomes a path.
    """

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        """Refuse anything but the registered algorithms with exactly their length."""
        if (
            not _GRAMMAR.fullmatch(f"{self.algorithm}:{self.hex}")
            or len(self.hex) != _LENGTHS[self.algorithm]
        ):
            raise InvalidRequest(
                f"invalid digest: `{self.algorithm}:{self.hex}`"[:200],
                hint="a digest is `sha256:` and 64 lower-case hexadecimal digits",
            )

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read `sha256:<64 hex>` or `sha512:<128 hex>`.

        Raises:
            InvalidRequest: anything else.
        """
        algorithm, _, digits = text.partition(":")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        """Hash bytes that are already in memory."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 digits, which is how people see a model's id."""
        return self.hex[:12]

    @property
    def path(self) -> PurePosixPath:
        """`<algorithm>/<hex>`, relative to a directory of blobs."""
        return PurePosixPath(self.algorithm, self.hex)

    def verifier(self) -> "Verifier":
        """Start hashing bytes that are meant to have this digest."""
        return Verifier(self)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class Verifier:
    """Hashes bytes as they arrive, in order, and says at the end whether they are the expected ones."""

    def __init__(self, expected: Digest) -> None:
        self.expected = expected
        self._hash = hashlib.new(expected.algorithm)

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; releases the interpreter lock for chunks over 2 KiB."""
        self._hash.update(chunk)

    @property
    def actual(self) -> Digest:
        """The digest of everything seen so far."""
        return Digest(self.expected.algorithm, self._hash.hexdigest())

    @property
    def matches(self) -> bool:
        """Whether what was seen so far is exactly the expected content."""
        return self._hash.hexdigest() == self.expected.hex

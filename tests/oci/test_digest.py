import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import InvalidRequest
from modelrunner.oci.digest import Digest

HEX = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of b"hello"


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_a_digest_prints_as_it_was_read(text: str) -> None:
    """Parsing and printing are inverse."""
    assert str(Digest.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        "sha256:",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}",
        f"md5:{HEX[:32]}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        "sha256:../../../../../../etc/passwd",
        f"sha256:{'../' * 21}a",
        f"sha256:{'٣' * 64}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """Only registered algorithms with exactly their lower-case digits make a digest (CVE-2024-37032)."""
    with pytest.raises(InvalidRequest, match="invalid digest"):
        Digest.parse(text)


@given(st.text(alphabet=string.printable, max_size=80))
def test_a_path_never_has_more_than_two_plain_parts(text: str) -> None:
    """Whatever parses is `<algorithm>/<hex>` as a path."""
    try:
        digest = Digest.parse(text)
    except InvalidRequest:
        return
    assert digest.path.parts == (digest.algorithm, digest.hex)


def test_the_digest_of_bytes_is_their_sha256() -> None:
    """`of` hashes with SHA-256."""
    assert Digest.of(b"hello") == Digest("sha256", HEX)


def test_a_verifier_sees_chunks_as_one_content() -> None:
    """Bytes may come in pieces."""
    verifier = Digest.of(b"hello").verifier()

    verifier.update(b"he")
    verifier.update(memoryview(b"llo"))

    assert verifier.matches
    assert verifier.actual == Digest.of(b"hello")


def test_a_verifier_uses_the_algorithm_of_its_digest() -> None:
    """A sha512 digest is checked with SHA-512."""
    verifier = Digest("sha512", hashlib.sha512(b"hello").hexdigest()).verifier()

    verifier.update(b"hello")

    assert verifier.matches


def test_a_verifier_notices_other_bytes() -> None:
    """One different byte is enough."""
    verifier = Digest.of(b"hello").verifier()

    verifier.update(b"hellp")

    assert not verifier.matches

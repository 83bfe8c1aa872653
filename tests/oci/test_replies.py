import json

import pytest

from modelrunner.errors import ModelNotFound, RegistryError, RunnerError, Unauthorized
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.replies import Span, blob_refusal, body_start, parse_content_range, refusal

BLOB = Descriptor("application/octet-stream", Digest.of(b"hello"), 5)


def _errors(*codes: str, message: str = "") -> bytes:
    return json.dumps(
        {"errors": [{"code": code, "message": message, "detail": {}} for code in codes]}
    ).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", Unauthorized),
        (401, _errors("UNAUTHORIZED"), Unauthorized),
        (403, _errors("DENIED"), Unauthorized),
        (400, _errors("DENIED"), Unauthorized),
        (404, b"<html>not found</html>", ModelNotFound),
        (404, _errors("NAME_UNKNOWN"), ModelNotFound),
        (404, _errors("MANIFEST_UNKNOWN"), ModelNotFound),
        (400, _errors("NAME_UNKNOWN"), ModelNotFound),
        (400, _errors("DIGEST_INVALID"), RegistryError),
        (429, _errors("TOOMANYREQUESTS"), RegistryError),
        (500, b"not found unauthorized 404", RegistryError),
        (500, _errors("NAME_UNKNOWN"), RegistryError),
        (302, b"", RegistryError),
    ],
)
def test_a_refusal_is_told_by_status_and_code(status: int, body: bytes, kind: type[RunnerError]) -> None:
    """Words decide nothing."""
    error = refusal(status, body, "ai/404-not-found:unauthorized", "docker.io")

    assert type(error) is kind
    assert error.detail["status"] == status


def test_a_refusal_says_how_to_log_in() -> None:
    """Docker Hub refuses what does not exist, so the hint has both ways out."""
    error = refusal(401, _errors("UNAUTHORIZED"), "ai/nosuch:latest", "docker.io")

    assert str(error) == "access denied: `ai/nosuch:latest`"
    assert error.hint == "check the name; if it is private, log in with `docker login docker.io`"


def test_a_registry_is_quoted_in_one_short_clean_line() -> None:
    """Terminal escapes and novels do not reach the user."""
    error = refusal(500, _errors("UNKNOWN", message="disk\n\x1b[31mfull" + "!" * 5000), "x", "r.example.com")

    assert "disk [31mfull!!" in str(error)
    assert len(str(error)) < 400
    assert str(error).isprintable()


def test_a_missing_blob_is_not_a_missing_model() -> None:
    """The name was right."""
    error = blob_refusal(404, _errors("BLOB_UNKNOWN"), BLOB, "r.example.com")

    assert type(error) is RegistryError


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes 0-4/5", Span(0, 4, 5)),
        ("bytes 100-200/*", Span(100, 200, None)),
        ("bytes 5-4/9", None),
        ("bytes */5", None),
        ("bytes 0-4", None),
        ("items 0-4/5", None),
        ("", None),
        (None, None),
        ("bytes 0-99999999999999999999999/5", None),
    ],
)
def test_content_range_is_read_or_counts_as_missing(value: str | None, span: Span | None) -> None:
    """The whole may be of unknown size."""
    assert parse_content_range(value) == span


@pytest.mark.parametrize(
    ("status", "headers", "start"),
    [
        (206, {"Content-Range": "bytes 2-4/5"}, 2),
        (206, {"Content-Range": "bytes 2-4/*"}, 2),
        (206, {"Content-Range": "bytes 0-4/5"}, None),
        (206, {"Content-Range": "garbage"}, None),
        (206, {}, None),
        (200, {"Content-Length": "5"}, 0),
        (200, {}, 0),
        (200, {"Content-Encoding": "identity"}, 0),
    ],
)
def test_bytes_start_where_the_answer_proves_it(
    status: int, headers: dict[str, str], start: int | None
) -> None:
    """Only 206 with the range that was asked for is a part; 200 is the whole."""
    assert body_start(status, headers, BLOB, 2) == start


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {"Content-Range": "bytes 2-4/6"}),
        (200, {"Content-Length": "6"}),
        (200, {"Content-Length": "5", "Content-Encoding": "gzip"}),
    ],
)
def test_a_blob_of_another_size_is_refused_before_its_bytes(status: int, headers: dict[str, str]) -> None:
    """So is a compressed one."""
    with pytest.raises(RegistryError):
        body_start(status, headers, BLOB, 2)


@pytest.mark.parametrize("body", [b'{"errors":[{"code":"\xff"}]}', b'{"x":' + b"[" * 100_000])
def test_a_refusal_that_cannot_be_decoded_is_known_by_its_status(body: bytes) -> None:
    """Neither bytes that are no UTF-8 nor brackets without end hide what happened."""
    assert isinstance(refusal(404, body, "ai/x", "docker.io"), ModelNotFound)

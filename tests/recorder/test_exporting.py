"""What other programs are given does nothing but ask again."""

import shlex
from typing import cast

from modelrunner.recorder.exporting import as_curl
from modelrunner.wire.requests import RecordedRequest


def test_a_body_that_begins_with_an_at_sign_is_sent_and_names_no_file() -> None:
    words = shlex.split(
        as_curl(_request("/v1/chat/completions", "@/etc/passwd"), "http://localhost").decode()
    )
    assert words[-2:] == ["--data-raw", "@/etc/passwd"]  # which alone curl takes as it stands


def test_braces_in_a_path_are_no_pattern_of_curl_s() -> None:
    words = shlex.split(as_curl(_request("/engines/{a,b}/v1/embeddings", "{}"), "http://localhost").decode())
    assert "--globoff" in words


def _request(path: str, body: str) -> RecordedRequest:
    asked = {"method": "POST", "path": path, "request": body, "media": []}
    return cast("RecordedRequest", asked)  # what a command is made of

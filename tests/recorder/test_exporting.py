"""What other programs are given does nothing but ask again."""

import shlex
import subprocess
from typing import cast

import pytest

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


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"a": "\x9b1m\x7f\u202e", "n": 1.10}', r'{"a": "\u009b1m\u007f\u202e", "n": 1.10}'),
        ('{\n  "a":\t"\U0001f600"}', r'{   "a": "\ud83d\ude00"}'),
        ("it's no JSON \x1b[2J\n", "it's no JSON \x1b[2J\n"),
    ],
)
def test_a_command_that_is_pasted_sends_what_was_sent(body: str, expected: str) -> None:
    """And what is read before it is pasted does not steer the terminal."""
    text = as_curl(_request("/v1/x\x1b[2J/é", body), "http://localhost").decode()

    words = _words(text)

    assert text.removesuffix("\n").isprintable()
    assert "http://localhost/v1/x%1B%5B2J/%C3%A9" in words
    assert words[-1] == expected


def _words(text: str) -> list[str]:
    """What a shell makes of a line."""
    line = f"printf '%s\\0' {text}"
    return (
        subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.decode().split("\0")[:-1]
    )


def _request(path: str, body: str) -> RecordedRequest:
    asked = {"method": "POST", "path": path, "request": body, "media": []}
    return cast("RecordedRequest", asked)  # what a command is made of

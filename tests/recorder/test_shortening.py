"""Media, vectors and secrets are not kept as they came."""

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.recorder.redaction import Rules, rules_of
from modelrunner.recorder.shortening import (
    as_reference,
    has_media,
    is_plain,
    media_in,
    medium,
    shortened,
)

PICTURE = bytes(range(256)) * 4
DIGEST = "sha256:" + hashlib.sha256(PICTURE).hexdigest()
ENCODED = base64.b64encode(PICTURE).decode()


def test_a_picture_becomes_a_digest_and_a_size() -> None:
    url = f"data:image/png;base64,{ENCODED}"
    found = shortened({"messages": [{"content": [{"image_url": {"url": url}}]}]}, Rules())

    text = found.value["messages"][0]["content"][0]["image_url"]["url"]
    assert 1 == found.media
    assert len(text) < 300
    assert [{"type": "image/png", "size": len(PICTURE), "digest": DIGEST}] == media_in(text)
    assert has_media(text)


def test_the_reference_s_form_is_cut_as_the_reference_cuts() -> None:
    url = f"data:image/png;base64,{ENCODED}"
    text = shortened({"url": url}, Rules()).value["url"]

    cut = f"data:image/png;base64,{ENCODED[:100]}...[truncated {len(ENCODED) - 100} chars]"
    assert cut == as_reference(text)


@pytest.mark.parametrize("name", ["data", "images", "b64_json"])
def test_base64_is_known_by_the_name_of_its_field(name: str) -> None:
    assert 1 == shortened({name: ENCODED}, Rules()).media


def test_a_picture_says_itself_what_it_is_where_nothing_else_does() -> None:
    """As in Ollama's form, and in Anthropic's, where its type stands beside it."""
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes([0, 0, 0, 8, 0, 0, 0, 8]) + PICTURE
    found = shortened({"images": [base64.b64encode(png).decode(), ENCODED]}, Rules())

    [first, second] = found.value["images"]
    assert ["image/png", "application/octet-stream"] == [
        media_in(text)[0]["type"] for text in (first, second)
    ]


def test_a_long_word_in_a_prompt_is_no_picture() -> None:
    found = shortened({"content": "a" * 500}, Rules())

    assert "a" * 500 == found.value["content"]
    assert not found.changed


def test_a_file_of_a_form_is_told_by_its_type() -> None:
    assert [{"type": "audio/wav", "size": len(PICTURE), "digest": DIGEST}] == media_in(
        medium(PICTURE, "audio/wav")
    )


def test_long_vectors_keep_their_first_numbers() -> None:
    found = shortened({"data": [{"embedding": [0.5] * 768}]}, Rules())

    assert [0.5] * 8 == found.value["data"][0]["embedding"]
    assert found.changed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("use sk-proj-abcdefghijklmnopqrstuv please", "use [redacted key] please"),
        ("hf_" + "a" * 34, "[redacted key]"),
        ("ghp_" + "B" * 36, "[redacted key]"),
        ("Authorization: Bearer abcdefghijklmnop1234", "Authorization: [redacted bearer]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "[redacted private key]"),
        ("-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\ncut off", "[redacted private key]\ncut off"),
        ("of two -----BEGIN PRIVATE KEY----- only a word", "of two [redacted private key] only a word"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0xyz.c2lnbmF0dXJl", "[redacted token]"),
        ("curl -H 'Authorization: Basic YWRhOnNlY3JldA=='", "curl -H '[redacted password]'"),
        ('{"authorization": "basic YWRhOnNlY3JldA"}', '{"[redacted password]"}'),
        ("postgres://ada:hunter2@db:5432/x", "postgres://[redacted password]@db:5432/x"),
        ("http://localhost:8080/@ada and ssh://git@host", "http://localhost:8080/@ada and ssh://git@host"),
        ("write to ada@example.org", "write to [redacted email]"),
        ("4111 1111 1111 1111", "[redacted card]"),
        ("call +49 170 1234567", "call [redacted phone]"),
        ("a task-list and 12:34", "a task-list and 12:34"),
    ],
)
def test_rules_replace_what_they_find(text: str, kept: str) -> None:
    rules = Rules(rules_of(["secrets", "emails", "cards", "phones"], None))

    assert kept == shortened({"content": text}, rules).value["content"]


def test_a_secret_that_is_written_as_escapes_is_found_too() -> None:
    from modelrunner.recorder.documents import read_json

    rules = Rules(rules_of(["secrets"], None))
    found = shortened(read_json(b'{"a": "\\u0073k-proj-abcdefghijklmnopqrstuv"}'), rules)

    assert {"a": "[redacted key]"} == found.value


def test_a_secret_in_a_name_is_found_too() -> None:
    rules = Rules(rules_of(["secrets"], None))

    assert {"[redacted key]": 1} == shortened({"sk-proj-abcdefghijklmnopqrstuv": 1}, rules).value


@pytest.mark.parametrize("medium", ["data", "url", "image"])
def test_a_key_is_no_picture(medium: str) -> None:
    """One that is as long as a small picture, where pictures are; its beginning would be kept of that."""
    rules = Rules(rules_of(["secrets"], None))
    found = shortened({medium: "sk-proj-" + "a" * 156}, rules)

    assert found.value[medium].startswith("[redacted key]...[truncated ")
    assert 1 == found.redacted


_EVIL = (
    *("eyJ-", "-----BEGIN PRIVATE KEY-----", "eyJaaaaaaaaaa.", "bearer ", "authorization: basic ", "://a:"),
    *("a.b+", "1 ", "+1 ", "sk-", "ghp_", "-----BEGIN A ", "A" * 50 + "-----BEGIN PRIVATE KEY-----"),
)


@pytest.mark.parametrize("evil", _EVIL)
def test_no_text_takes_a_rule_longer_than_it_is(evil: str) -> None:
    """64 KiB are read in a moment, whatever a client makes it of."""
    rules = Rules(rules_of(["secrets", "emails", "cards", "phones"], None))

    began = time.process_time()
    rules.apply(evil * ((1 << 16) // len(evil)))

    assert time.process_time() - began < 1.0  # what grows with the square of it takes several seconds


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "sk-" + "a1" * 12,
            "SK-" + "a1" * 12,
            "redis://:hunter2@cache",
            "Authorization:\tBasic abcdefgh",
            "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
            f"data:image/png;base64,{ENCODED}",
            ENCODED,
            "data",
            "url",
            'a "quoted" \\ line\n',
        ]
    ),
)
_DOCUMENTS = st.recursive(
    st.one_of(_TEXTS, st.integers(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(_TEXTS, inner, max_size=3),
        st.lists(st.integers(0, 9), min_size=60, max_size=70),
    ),
    max_leaves=6,
)


@given(_DOCUMENTS, st.booleans(), st.booleans())
def test_what_looks_plain_has_nothing_to_be_found(document: Any, ascii_only: bool, slashes: bool) -> None:
    """However its text is escaped; what does not look so may have, and is walked through."""
    rules = Rules(rules_of(["secrets"], None))
    text = json.dumps(document, ensure_ascii=ascii_only).replace("/", "\\/" if slashes else "/")

    assert not (is_plain(text, rules) and shortened(document, rules).changed)


@pytest.mark.parametrize(
    "text", ['{"content": "hello\\nthere, \\"you\\""}', '{"a": [1, 2.5, null], "b": {}}']
)
def test_most_documents_look_plain(text: str) -> None:
    assert is_plain(text, Rules(rules_of(["secrets"], None)))
    assert not is_plain(text, Rules([("mine", "hello")]))

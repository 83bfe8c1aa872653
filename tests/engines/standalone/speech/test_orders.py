"""The fields of a form: what they mean, and what is wrong with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.engines.standalone.speech.orders import Order, read_order
from modelrunner.engines.standalone.speech.serving import Refused


def test_nothing_but_a_model_is_needed() -> None:
    """The language is found out, and the model becomes bolder when it hears nothing."""
    assert read_order("transcribe", [("model", "x")]) == Order("transcribe")


def test_all_fields_are_read() -> None:
    """Empty ones are as if they were not there."""
    fields = [
        ("language", "EN"),
        ("languages[]", "de"),
        ("languages[]", "en"),
        ("keywords[]", "Ada"),
        ("prompt", "Names: Ada"),
        ("temperature", "0.5"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("stream", "false"),
        ("include[]", ""),
    ]
    order = read_order("translate", fields)

    assert order == Order(
        "translate",
        "verbose_json",
        ("en", "de"),
        ("Ada",),
        "Names: Ada",
        0.5,
        frozenset({"word", "segment"}),
    )
    assert order.words


@pytest.mark.parametrize(
    ("fields", "at_fault", "words"),
    [
        ({"response_format": "docx"}, "response_format", "json, verbose_json, text, srt, vtt"),
        ({"temperature": "warm"}, "temperature", "from 0 to 1"),
        ({"temperature": "2"}, "temperature", "from 0 to 1"),
        ({"temperature": "nan"}, "temperature", "from 0 to 1"),
        ({"language": "../etc"}, "language", "ISO 639"),
        ({"stream": "perhaps"}, "stream", "true or false"),
        ({"stream": "true", "response_format": "srt"}, "response_format", "no form `srt`"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "verbose_json"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities",
            "`word` or `segment`",
        ),
        ({"include[]": "logprobs"}, "include", "not supported"),
        ({"chunking_strategy": "auto"}, "chunking_strategy", "not supported"),
        ({"prompt": "x" * 9000}, "prompt", "at most"),
        ({"keywords[]": "x" * 101}, "keywords", "at most"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(fields: dict[str, str], at_fault: str, words: str) -> None:
    """And nothing is passed over in silence that would change the answer."""
    with pytest.raises(Refused, match=words) as caught:
        read_order("transcribe", fields.items())

    assert caught.value.field == at_fault
    assert caught.value.status == 400


@given(st.dictionaries(st.sampled_from(["language", "temperature", "stream", "response_format"]), st.text()))
def test_any_form_is_read_or_refused(fields: dict[str, str]) -> None:
    """By an error that a client can be told."""
    try:
        order = read_order("transcribe", fields.items())
    except Refused as exc:
        at_fault = exc.field
    else:
        at_fault = None
        assert order.temperature is None or 0 < order.temperature <= 1

    assert at_fault is None or at_fault in fields

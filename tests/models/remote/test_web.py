"""Files on web servers: their names, and what may be wrong with them."""

import pytest

from modelrunner.errors import InvalidReference
from modelrunner.models.remote.web import is_web_file, web_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com/m.gguf", True),
        ("HTTP://example.com/M.GGUF?download=true", True),
        (" https://example.com/m.gguf ", True),
        ("https://huggingface.co/o/m", False),
        ("example.com/m.gguf", False),
        ("file:///tmp/m.gguf", False),
        ("ai/smollm2", False),
    ],
)
def test_only_the_address_of_a_gguf_file_is_one(text: str, *, expected: bool) -> None:
    """Everything else is the name of a model, or an error."""
    assert is_web_file(text) == expected


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.com/Model-Q4_K_M.gguf", "example.com/model-q4-k-m:latest"),
        ("http://localhost:8000/a b/~x/m.gguf?token=1", "localhost:8000/a-b/x/m:latest"),
        ("https://example.com//../%2e%2e/m.GGUF", "example.com/m:latest"),
    ],
)
def test_a_model_is_named_after_its_address(address: str, name: str) -> None:
    """In what names may be made of; nothing of the query is in it."""
    assert str(web_name(address)) == name


@pytest.mark.parametrize(
    "address",
    [
        "https://user:pw@example.com/m.gguf",
        "https:///m.gguf",
        "https://example.com:99999/m.gguf",
        "https://example.com/.gguf",
        "https://example.com/m-00001-of-00003.gguf",
    ],
)
def test_an_address_that_cannot_be_a_model_is_refused(address: str) -> None:
    """Without repeating a password."""
    with pytest.raises(InvalidReference) as caught:
        web_name(address)

    assert "pw" not in str(caught.value)

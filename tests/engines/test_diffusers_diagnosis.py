"""What the words of an image server mean."""

import pytest

from modelrunner.engines.base import explain
from modelrunner.engines.diffusers_diagnosis import diagnose


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("Traceback\nValueError: no\nDIFFUSERS_ERROR: the model is damaged\n", "the model is damaged"),
        ("RuntimeError: first\nValueError: second\n", "first"),
        ("ModuleNotFoundError: No module named 'torch'\n", "No module named 'torch'"),
        ("it says: CUDA out of memory. Tried to allocate 2 GiB.\n", "CUDA out of memory."),
        ("No GPU found. Bye\n", "No GPU found."),
        ("safetensors.SafetensorError: header too large\n", "header too large"),
        ("hello\nworld\n", None),
        ("", None),
    ],
)
def test_the_first_pattern_that_fits_wins(words: str, sentence: str | None) -> None:
    """The server's own line before an exception, that before a GPU's complaint, that before the rest."""
    assert diagnose(words) == sentence


@pytest.mark.parametrize("words", ["", "it went wrong"])
def test_words_that_are_not_understood_are_passed_on(words: str) -> None:
    """As they are."""
    assert explain(diagnose(words), words) == words

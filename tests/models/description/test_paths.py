"""File names from artifacts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelrunner.errors import UnsupportedModel
from modelrunner.models.description.paths import inner_path, sanitised_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("model.gguf", "model.gguf"),
        ("foo/m.gguf", "foo/m.gguf"),
        ("foo/../bar", "bar"),
        ("foo/", "foo"),
        ("./a//b", "a/b"),
        ("a/b/../../c", "c"),
        ("..a", "..a"),
        ("...", "..."),
        ("a" * 255 + "/" + "ü" * 127, "a" * 255 + "/" + "ü" * 127),
    ],
)
def test_a_path_that_stays_inside_is_cleaned(text: str, path: str) -> None:
    """Steps back are fine as long as they do not lead out."""
    assert path == str(inner_path(text))
    assert path == str(sanitised_path(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "a/../../x",
        "../x",
        "a\0b",
        "a\\..\\b",
        "a\nb",
        "a\x1b[31mb",
        "a\x7fb",
        "a\x9bb",
        "C:/x",
        "//x",
        "a/..",
        "./.",
        "a" * 256,
        "a/" + "ü" * 128,
        "a\ud800b",
    ],
)
def test_a_path_that_leads_outside_is_refused(text: str) -> None:
    """So are names that no file has."""
    with pytest.raises(UnsupportedModel, match="unsafe path"):
        inner_path(text)


def test_a_beginning_that_leads_outside_is_cut_off() -> None:
    """Artifacts exist whose paths are relative to somebody's home."""
    assert str(sanitised_path("../../home/u/te/m.safetensors")) == "home/u/te/m.safetensors"


@pytest.mark.parametrize("text", ["../../..", "..", "", "/etc/passwd", "a\0b", "."])
def test_what_is_left_must_be_a_path(text: str) -> None:
    """Otherwise the error shows both forms."""
    with pytest.raises(UnsupportedModel, match="unsafe path"):
        sanitised_path(text)


def test_the_error_shows_what_was_there_and_what_was_left() -> None:
    """So that the artifact's author finds the place."""
    with pytest.raises(UnsupportedModel) as caught:
        sanitised_path("../../..")

    assert '`../../..`, sanitized as "": empty path is not allowed' in caught.value.message


@pytest.mark.parametrize("text", ["../a\x1b[2Jb", "a\x9b31mb", "a\u202eb/../.."])
def test_the_error_holds_nothing_that_a_terminal_acts_on(text: str) -> None:
    """A name is shown to people who did not choose it."""
    for read in (inner_path, sanitised_path):
        with pytest.raises(UnsupportedModel) as caught:
            read(text)

        assert caught.value.message.isprintable()


@given(st.text(alphabet="ab./\\\0:", max_size=20))
def test_no_text_leads_outside(text: str) -> None:
    """Whatever comes out is relative, and has no step back."""
    for read in (inner_path, sanitised_path):
        try:
            path = read(text)
        except UnsupportedModel:
            continue
        assert not path.is_absolute()
        assert path.parts
        assert ".." not in path.parts

"""Files that a prompt mentions."""

import os
import socket
from pathlib import Path

import pytest

from modelrunner.cli.chat.attachments import as_reference, expand
from modelrunner.errors import InvalidRequest

PNG = b"\x89PNG\r\n\x1a\n...."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("ALPHA")
    (tmp_path / "b c.py").write_text("BETA")
    (tmp_path / "bin.dat").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "pic.png").write_bytes(PNG)
    (tmp_path / "wrong.jpg").write_bytes(PNG)
    return tmp_path


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("see @a.txt now", "see ALPHA now"),
        ('see @"b c.py"', "see BETA"),
        ("see @'b c.py'", "see BETA"),
        (r"see @b\ c.py", "see BETA"),
        ("see @./a.txt", "see ALPHA"),
        ("see @missing.txt", "see @missing.txt"),
        ("mail me@example.com", "mail me@example.com"),
        ("see @bin.dat", "see @bin.dat"),
        ("no files here", "no files here"),
        ("what of /no/such.png?", "what of /no/such.png?"),
    ],
)
def test_text_files_are_put_in_their_place(folder: Path, prompt: str, expected: str) -> None:
    """Quotes and backslashes allow spaces; what is missing or no text stays as it was typed."""
    assert expected == expand(prompt)


@pytest.mark.parametrize(
    "form", ["{}/pic.png", '"{}/pic.png"', "'{}/pic.png'", "@{}/pic.png", "@pic.png", '@"pic.png"']
)
def test_images_go_along_as_data(folder: Path, form: str) -> None:
    """The path leaves the text; the image comes first."""
    content = expand(f"what is {form.format(folder)} ?")

    assert isinstance(content, list)
    assert content[0] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,iVBORw0KGgouLi4u"},
    }
    assert content[1] == {"type": "text", "text": "what is  ?"}


def test_an_image_s_type_is_told_by_its_bytes(folder: Path) -> None:
    """A PNG called `.jpg` is sent as a PNG."""
    content = expand("./wrong.jpg")

    assert isinstance(content, list)
    assert len(content) == 1
    assert "data:image/png;" in str(content[0])


def test_an_enormous_image_is_refused(folder: Path) -> None:
    """Before it is read."""
    with (folder / "huge.png").open("wb") as file:
        file.truncate(100 * 1000 * 1000 + 1)

    with pytest.raises(InvalidRequest, match="exceeds maximum limit"):
        expand("./huge.png")


def test_what_a_file_says_names_no_files(folder: Path) -> None:
    """Its author is not the one who types."""
    (folder / "evil.txt").write_text("see @a.txt and ./pic.png")

    assert expand("@evil.txt") == "see @a.txt and ./pic.png"


@pytest.mark.parametrize(
    ("pasted", "expected"),
    [
        ("{}/a.txt", "@{}/a.txt "),
        ("'{}/b c.py' ", '@"{}/b c.py" '),
        (r"{}/b\ c.py", '@"{}/b c.py" '),
        ("file://{}/b%20c.py", '@"{}/b c.py" '),
        ('"{}/pic.png"', '"{}/pic.png" '),
        ("{}/missing.txt", ""),
        ("{}", ""),
        ("a.txt", ""),
        ("{}/a.txt\n{}/a.txt", ""),
        ("", ""),
        ("/" + "x" * 5000, ""),
        ("/\0", ""),
    ],
)
def test_a_file_that_is_dragged_in_is_mentioned(folder: Path, pasted: str, expected: str) -> None:
    """However the terminal quotes its path; any other paste is text."""
    assert expected.replace("{}", str(folder)) == as_reference(pasted.replace("{}", str(folder)))


@pytest.mark.parametrize("prompt", [f"@{'x' * 300}", "@~nobody-has-this-name/x", f'@"{"y" * 5000}"'])
def test_what_can_be_no_file_stays_as_it_was_typed(prompt: str) -> None:
    assert expand(prompt) == prompt


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["{}/pipe", "{}/pipe.png", "/dev/zero", "/dev/tty", "{}/socket"])
def test_what_is_no_file_is_refused_before_it_is_opened(folder: Path, name: str) -> None:
    """Nobody writes into the pipe: a chat that read it would wait for ever."""
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")  # a path that is not too long
        with pytest.raises(InvalidRequest, match="` is no file, but a device or a pipe"):
            expand(f"see @{name.format(folder)}")


def test_no_more_is_read_than_any_context_holds(folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(InvalidRequest, match="exceeds maximum limit"):
        expand("see @huge.txt")


def test_a_file_of_the_system_is_read_though_it_has_no_size(folder: Path) -> None:
    assert "Linux" in str(expand("see @/proc/version"))


def test_a_file_that_may_not_be_read_is_told(folder: Path) -> None:
    """Left as it was typed, the model would make up what is in it."""
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "gone.txt").symlink_to("/nowhere")

    assert expand("@gone.txt @loop.txt") == "@gone.txt @loop.txt"
    with pytest.raises(InvalidRequest, match="cannot read `/proc/self/mem`: "):
        expand("@/proc/self/mem")

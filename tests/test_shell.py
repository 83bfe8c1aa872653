"""Words for a shell: shown as they are, and the same when they are pasted."""

import shutil
import subprocess

import pytest

from modelrunner.shell import quoted

WORDS = [
    "plain",
    "two words",
    "it's",
    "a\x1b[31mb",
    "\x1bcafe",
    "back\\slash\x07'quote'",
    "\x9b1m\u202e",
    "a\n\tb",
    "",
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_word_is_the_same_when_it_is_pasted(shell: str, word: str) -> None:
    """And nothing of it steers the terminal before."""
    program = shutil.which(shell)
    assert program is not None, f"{shell} is needed: apt-get install {shell}"
    text = quoted(word)

    said = subprocess.run([program, "-c", f"printf %s {text}"], capture_output=True, check=True).stdout

    assert (text.isprintable(), said.decode()) == (True, word)

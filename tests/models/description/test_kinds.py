"""Kinds of files by their names."""

import pytest

from modelrunner.models.description.kinds import FileKind, classify


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("MODEL.GGUF", FileKind.GGUF),
        ("model-00001-of-00015.gguf", FileKind.GGUF),
        ("license.gguf", FileKind.GGUF),
        ("model.safetensors", FileKind.SAFETENSORS),
        ("flux.dduf", FileKind.DDUF),
        ("chat_template.json", FileKind.TEMPLATE),
        ("chat_template.txt", FileKind.TEMPLATE),
        ("template.jinja", FileKind.TEMPLATE),
        ("license.txt", FileKind.LICENSE),
        ("LICENCE", FileKind.LICENSE),
        ("COPYING", FileKind.LICENSE),
        ("NOTICE", FileKind.LICENSE),
        ("TOKENIZER.MODEL", FileKind.CONFIG),
        ("README.md", FileKind.CONFIG),
        ("vocab.vocab", FileKind.CONFIG),
        ("sub/dir/config.json", FileKind.CONFIG),
        ("model.bin", FileKind.UNKNOWN),
        ("script.py", FileKind.UNKNOWN),
        ("spiece.model", FileKind.UNKNOWN),
        ("", FileKind.UNKNOWN),
    ],
)
def test_a_name_tells_the_kind(name: str, kind: FileKind) -> None:
    """Case and directories do not matter, and the first rule that fits wins."""
    assert kind is classify(name)

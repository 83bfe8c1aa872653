"""What counts as code that came with a model."""

import json
import re
from pathlib import Path

import pytest

from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.foreign_code import check

AUTO_MAP = {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"}


@pytest.mark.parametrize(
    "name",
    [
        "modeling_evil.py",
        "a/b/c.PY",
        "lib.so",
        "lib.so.1.2",
        "x.pyc",
        "__pycache__/x.cpython-311.pyc",
        "x.dll",
        "pytorch_model.bin",
        "training_args.bin",
        "weights.pt",
        "weights.pth",
        "data.pkl",
        "old.ckpt",
        "a\n.py",
    ],
)
def test_programs_and_pickles_are_refused_by_name(tmp_path: Path, name: str) -> None:
    """At any depth, in any case; the message names the file and the hint says what to do."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")

    with pytest.raises(UnsupportedModel, match=re.escape(f"refused: `{name}` is a p")) as caught:
        check(tmp_path)

    assert "GGUF" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("name", "document", "key"),
    [
        ("config.json", {"auto_map": AUTO_MAP}, "auto_map"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}, "auto_map"),
        ("preprocessor_config.json", {"auto_map": AUTO_MAP}, "auto_map"),
        ("text_encoder/config.json", {"auto_map": AUTO_MAP}, "auto_map"),
        ("config.json", {"text_config": {"auto_map": AUTO_MAP}}, "auto_map"),
        ("config.json", {"parts": [{"auto_map": AUTO_MAP}]}, "auto_map"),
        ("config.json", {"model_file": "evil.py"}, "model_file"),
        ("config.json", {"trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_configurations_that_name_code_are_refused(
    tmp_path: Path, name: str, document: object, key: str
) -> None:
    """Whichever of a model's configurations does so, and however deep in it."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))

    with pytest.raises(UnsupportedModel, match=re.escape(f"refused: `{name}` has `{key}`")):
        check(tmp_path)


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_configuration_that_cannot_be_read_is_refused(tmp_path: Path, raw: bytes) -> None:
    """Nobody knows what an engine would make of it."""
    (tmp_path / "config.json").write_bytes(raw)

    with pytest.raises(UnsupportedModel, match="is no JSON"):
        check(tmp_path)


def test_an_ordinary_model_passes(tmp_path: Path) -> None:
    """Weights, tokenizer, template, texts and a configuration without code, even where its keys are there."""
    for name in ("model.safetensors", "tokenizer.model", "chat_template.jinja", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes(b"auto_map")
    config = {"auto_map": {}, "trust_remote_code": False, "model_type": "llama", "rope": float("inf")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"auto_map": 1}}}))

    check(tmp_path)

import json
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelrunner.errors import DigestMismatch, UnsupportedModel
from modelrunner.models.artifacts.packages import Extras, package_dduf, package_directory, package_gguf
from modelrunner.models.artifacts.packaging import Draft
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig, parse_config
from modelrunner.models.remote.peek import gguf_header, peek
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import Descriptor, Manifest
from modelrunner.oci.reference import Reference
from modelrunner.testing.gguf import Tensor, tiny_gguf, write_gguf


class Far:
    """A draft as if it were far away: counts the bytes that are fetched, and may ignore ranges."""

    def __init__(self, draft: Draft, *, ranges: bool = True) -> None:
        self.draft = draft
        self.ranges = ranges
        self.fetched = 0

    async def manifest(self, reference: Reference) -> Manifest:
        return self.draft.manifest_value

    @asynccontextmanager
    async def open(
        self, blob: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        begin, end = (start, stop) if self.ranges else (0, None)
        async with self.draft.open(blob, begin, end) as (position, chunks):
            yield position, self._counted(chunks)

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            for at in range(0, len(chunk), 64 << 10):
                piece = chunk[at : at + (64 << 10)]
                self.fetched += len(piece)
                yield piece


def _large(path: Path, size: int = 32 << 20) -> Path:
    write_gguf(
        path,
        {"general.architecture": "llama", "llama.context_length": 4096, "tokenizer.chat_template": "{{ x }}"},
        [Tensor("token_embd.weight", (size // 4,), 0)],
    )
    os.truncate(path, path.stat().st_size)
    return path


@pytest.mark.parametrize("ranges", [True, False])
async def test_only_headers_are_fetched(tmp_path: Path, *, ranges: bool) -> None:
    """Also from a source that knows no ranges, whose answer is left as soon as the header is here."""
    draft = package_gguf(_large(tmp_path / "m.gguf"))
    far = Far(draft, ranges=ranges)
    found = await peek(far, draft.manifest_value, ModelConfig())

    assert far.fetched < 1 << 20
    assert ("llama", 4096, "{{ x }}", 1) == (
        found.config.architecture,
        found.config.context_size,
        found.template,
        found.tensors,
    )
    assert draft.manifest_value.layers[0].size == found.size == found.weights


async def test_an_artifact_s_own_words_come_first(tmp_path: Path) -> None:
    """Its template and its context, before those of the weights; the rest is filled up."""
    template = tmp_path / "t.jinja"
    template.write_text("{{ own }}")
    draft = package_gguf(tiny_gguf(tmp_path / "m.gguf"), Extras(template=template, context_size=512))
    own = parse_config(draft.config_bytes, draft.manifest_value.config.media_type)
    found = await peek(Far(draft), draft.manifest_value, own)

    assert ("{{ own }}", 512) == (found.template, found.config.context_size)


async def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    """However much of it there is."""
    path = tiny_gguf(tmp_path / "m.gguf")
    draft = package_gguf(path)
    raw = bytearray(path.read_bytes())
    raw[16:24] = (2**63 - 1).to_bytes(8, "little")
    path.write_bytes(raw)

    with pytest.raises(UnsupportedModel):
        await gguf_header(Far(draft), draft.manifest_value.layers[0], "m.gguf")


async def test_a_blob_that_ends_early_is_noticed(tmp_path: Path) -> None:
    """The manifest promised more."""
    draft = package_gguf(_large(tmp_path / "m.gguf", 1 << 20))

    class Short(Far):
        async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            yield (await anext(chunks))[:10]

    with pytest.raises(DigestMismatch):
        await gguf_header(Short(draft), draft.manifest_value.layers[0], "m.gguf")
    assert Digest.of(b"") != draft.manifest_value.layers[0].digest


def _safetensors(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        arrays = {f"w{number}": np.zeros((4, 8), np.float16)}
        save_file(arrays, root / f"model-0000{number}-of-00002.safetensors")
    for name, text in files.items():
        (root / name.replace("_json", ".json").replace("_jinja", ".jinja")).write_text(text)
    return root


CONFIG_JSON = json.dumps(
    {
        "model_type": "llama",
        "max_position_embeddings": 4096,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "hidden_size": 32,
    }
)


async def test_a_safetensors_model_is_described_by_its_shards_and_its_configuration(tmp_path: Path) -> None:
    """The architecture, the context and its cache are in a file beside them, and so is the template."""
    tokenizer = json.dumps({"chat_template": "{{ inside }}", "bos_token": "<s>"})
    draft = package_directory(
        _safetensors(tmp_path / "m", config_json=CONFIG_JSON, tokenizer_config_json=tokenizer)
    )
    found = await peek(Far(draft), draft.manifest_value, ModelConfig())

    assert ("llama", "64.00", "F16", 4096) == (
        found.config.architecture,
        found.config.parameters,
        found.config.quantization,
        found.config.context_size,
    )
    assert ("{{ inside }}", 2, 2 * 4 * 2 * 8 * 2) == (found.template, found.tensors, found.per_token)
    assert found.weights == sum(
        layer.size for layer in draft.manifest_value.layers if layer.media_type == kinds.SAFETENSORS_LAYER
    )


async def test_a_template_of_its_own_goes_before_one_inside_of_json(tmp_path: Path) -> None:
    """And the usual one before those for tools."""
    root = _safetensors(
        tmp_path / "m",
        tokenizer_config_json='{"chat_template": "inside"}',
        chat_template_json='{"chat_template": "json"}',
    )
    (root / "additional_chat_templates").mkdir()
    (root / "additional_chat_templates" / "tools.jinja").write_text("tools")
    first = package_directory(root)
    (root / "chat_template.jinja").write_text("own")
    second = package_directory(root)

    assert ["json", "own"] == [
        (await peek(Far(draft), draft.manifest_value, ModelConfig())).template for draft in (first, second)
    ]


async def test_a_modelpack_s_adapter_and_projector_are_loaded_but_do_not_describe_it(tmp_path: Path) -> None:
    """They have the type of weights there; the context comes from the model's own header."""
    extras = Extras(
        projector=tiny_gguf(tmp_path / "vision.gguf", **{"general.architecture": "clip"}),
        adapters=[tiny_gguf(tmp_path / "adapter.gguf", **{"general.type": "adapter"})],
        packed=True,
    )
    draft = package_gguf(tiny_gguf(tmp_path / "m.gguf"), extras)
    own = parse_config(draft.config_bytes, kinds.CONFIG_CNCF)
    found = await peek(Far(draft), draft.manifest_value, own)

    assert (2048, 2, "128B") == (found.config.context_size, found.tensors, found.config.size)
    assert "general.type" not in found.config.metadata
    assert found.weights == found.size


async def test_a_dduf_file_is_weights_without_a_context(tmp_path: Path) -> None:
    """It has no header of either kind; what it takes is its size."""
    path = tmp_path / "m.dduf"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model_index.json", "{}" * 500)
    draft = package_dduf(path)
    found = await peek(Far(draft), draft.manifest_value, draft.config)

    assert (path.stat().st_size, 0, 0) == (found.weights, found.tensors, found.per_token)

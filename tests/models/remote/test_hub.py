from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from modelrunner.errors import (
    InvalidReference,
    ModelNotFound,
    RegistryError,
    RunnerError,
    Unauthorized,
    UnsupportedModel,
)
from modelrunner.models.description import kinds
from modelrunner.models.description.config import parse_config
from modelrunner.models.description.kinds import Format
from modelrunner.models.description.names import HubName, parse_hub_name, parse_name
from modelrunner.models.remote.hub import Hub
from modelrunner.models.remote.hub_model import HubModel
from modelrunner.models.remote.hub_token import find_token
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.oci.transport import Transport
from modelrunner.store.store import Store
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.hub import FakeHub
from modelrunner.testing.serving import serving
from modelrunner.testing.speech import ctranslate2_model

NAME = HubName("Org/Model-GGUF")
QUICK = RetryPolicy(first=0.001, longest=0.001)


@pytest.fixture
async def fake() -> AsyncIterator[FakeHub]:
    hub = FakeHub()
    async with serving(hub) as address, serving(hub) as storage:
        hub.address, hub.storage = address, storage
        yield hub


@pytest.fixture
async def hub(fake: FakeHub) -> AsyncIterator[Hub]:
    async with Transport(Credentials({}), user_agent="test", retry=QUICK, timeouts=Timeouts()) as transport:
        yield Hub(transport, fake.address)


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    return tiny_gguf(tmp_path / "m.gguf").read_bytes()


async def _read(model: HubModel, blob: Descriptor, start: int = 0, stop: int | None = None) -> bytes:
    async with model.open(blob, start, stop) as (_, chunks):
        return b"".join([chunk async for chunk in chunks])


async def test_a_gguf_model_is_described_without_its_weights(fake: FakeHub, hub: Hub, weights: bytes) -> None:
    """By ranges of its header; licence and template are small, and are fetched."""
    fake.add(
        "Org/Model-GGUF",
        {
            "m-Q4_K_M.gguf": weights,
            "m-Q8_0.gguf": weights + b"0",
            "LICENSE": b"free",
            "chat_template.jinja": b"{{ messages }}",
            "config.json": b"{}",
        },
    )
    model = await hub.look(NAME)

    assert model.content is not None
    assert "Q4_K_M" == model.choice.selected
    assert [
        ("m-Q4_K_M.gguf", kinds.GGUF_LAYER),
        ("LICENSE", kinds.LICENSE_LAYER),
        ("chat_template.jinja", kinds.TEMPLATE_LAYER),
    ] == [(layer.annotations[kinds.FILEPATH], layer.media_type) for layer in model.content.layers]
    assert weights == await _read(model, model.content.layers[0])
    assert weights[5:90] == await _read(model, model.content.layers[0], 5, 90)


async def test_a_whisper_model_is_known_by_its_first_bytes(fake: FakeHub, hub: Hub) -> None:
    """Its files keep their names; another model of CTranslate2 is refused before it is fetched."""
    beside = dict.fromkeys(("config.json", "tokenizer.json", "vocabulary.json", "README.md"), b"{}")
    weights = ctranslate2_model({"decoder/weight": ((64, 128), 4, 2)})
    fake.add("Org/Model-GGUF", {"model.bin": weights, **beside})
    model = await hub.look(NAME)
    assert model.content is not None
    config = parse_config(await _read(model, model.content.config), model.content.config.media_type)

    assert ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"] == [
        layer.annotations[kinds.FILEPATH] for layer in model.content.layers
    ]
    assert kinds.CTRANSLATE2_LAYER == model.content.layers[0].media_type
    assert (Format.CTRANSLATE2, "whisper") == (config.format, config.architecture)
    assert weights == await _read(model, model.content.layers[0])
    fake.add("Org/Model-GGUF", {"model.bin": ctranslate2_model({}, spec="TransformerSpec"), **beside})
    with pytest.raises(UnsupportedModel, match="`TransformerSpec`"):
        await hub.look(NAME)


async def test_a_safetensors_repository_keeps_its_folders(fake: FakeHub, hub: Hub) -> None:
    """In form 0.2, from a listing of several pages; the context comes from its `config.json`."""
    content = save({"w": np.zeros((4, 8), np.float16)})
    fake.page = 2
    fake.add(
        "Org/Model-GGUF",
        {
            "model.safetensors": content,
            "text_encoder/model.safetensors": content + b"",
            "config.json": b'{"max_position_embeddings": 4096}',
            "tokenizer.json": b"{}" * 50,
            "run.py": b"import os",
        },
    )
    model = await hub.look(NAME)

    assert model.content is not None
    assert kinds.CONFIG_V02 == model.content.config.media_type
    assert ["config.json", "model.safetensors", "text_encoder/model.safetensors", "tokenizer.json"] == [
        layer.annotations[kinds.FILEPATH] for layer in model.content.layers
    ]
    assert b'"context_size":4096' in await _read(model, model.content.config)


async def test_the_same_commit_always_gives_the_same_id(fake: FakeHub, hub: Hub, weights: bytes) -> None:
    """And another one another."""
    repository = fake.add("Org/Model-GGUF", {"m.gguf": weights, "LICENSE": b"free"})
    first, again = await hub.look(NAME), await hub.look(NAME)
    repository.files["LICENSE"] = b"not free"
    later = await hub.look(NAME)

    assert first.content is not None
    assert again.content is not None
    assert later.content is not None
    assert first.content.digest == again.content.digest
    assert first.content.digest != later.content.digest


async def test_a_model_goes_straight_into_the_store(
    fake: FakeHub, hub: Hub, weights: bytes, tmp_path: Path
) -> None:
    """Over a break and an address of the storage that has expired; nothing is fetched twice but a range."""
    fake.add("Org/Model-GGUF", {"m.gguf": weights})
    model = await hub.look(NAME)
    fake.cut["m.gguf"] = 1000
    fake.expire = 1
    store = Store(tmp_path / "store")
    assert model.content is not None
    reference = parse_name("hf.co/Org/Model-GGUF")
    await copy(model, store, model.content, [reference], retry=QUICK)

    assert weights == store.blob_path(model.content.layers[0].digest).read_bytes()
    assert "huggingface.co/org/model-gguf:latest" == str(store.snapshot.models[0].tags[0])


async def test_the_token_goes_to_the_hub_and_not_to_its_storage(
    fake: FakeHub, hub: Hub, weights: bytes
) -> None:
    """Whose signed addresses need none."""
    fake.add("Org/Model-GGUF", {"m.gguf": weights}, token="hf_secret")
    model = await hub.look(NAME, "hf_secret")
    assert model.content is not None
    await _read(model, model.content.layers[0])

    sent = {
        (request.path.startswith("/storage/"), request.headers.get("authorization")) for request in fake.seen
    }
    assert {(False, "Bearer hf_secret"), (True, None)} == sent


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        ({}, HubName("Org/Missing"), (Unauthorized, "repository not found, or private: `Org/Missing`")),
        ({"token": "other"}, NAME, (Unauthorized, "repository not found, or private")),
        ({"gated": True}, NAME, (Unauthorized, "the model is gated: `Org/Model-GGUF`")),
        ({}, HubName("Org/Model-GGUF", "latest", "v9"), (ModelNotFound, "no revision `v9`")),
        ({}, HubName("Org/Model-GGUF", "Q9"), (ModelNotFound, "no `Q9` in repository `Org/Model-GGUF`")),
    ],
)
async def test_what_the_hub_refuses_is_said_in_one_sentence(
    fake: FakeHub,
    hub: Hub,
    weights: bytes,
    options: dict[str, object],
    name: HubName,
    expected: tuple[type[RunnerError], str],
) -> None:
    """With what to do about it."""
    fake.add("Org/Model-GGUF", {"m-Q8_0.gguf": weights}, **options)
    error, words = expected

    with pytest.raises(error, match=words) as caught:
        await hub.look(name)
    assert caught.value.hint or error is ModelNotFound


async def test_a_rate_limit_is_waited_for_and_then_said(fake: FakeHub, hub: Hub, weights: bytes) -> None:
    """A short one passes unnoticed."""
    fake.add("Org/Model-GGUF", {"m.gguf": weights})
    fake.limit = 2
    await hub.look(NAME)
    fake.limit = 100

    with pytest.raises(RegistryError, match='rate limited while accessing repository "Org/Model-GGUF"'):
        await hub.look(NAME)


@pytest.mark.parametrize("path", ["../../etc/passwd.gguf", "/etc/passwd.gguf", "a\\b.gguf"])
async def test_a_path_that_leads_outside_is_refused(
    fake: FakeHub, hub: Hub, weights: bytes, path: str
) -> None:
    """Whatever the hub lists."""
    fake.add("Org/Model-GGUF", {path: weights})

    with pytest.raises(UnsupportedModel, match="unsafe path in the model"):
        await hub.look(NAME)


async def test_a_revision_is_asked_for_and_quoted(fake: FakeHub, hub: Hub, weights: bytes) -> None:
    """A branch may have a slash in its name."""
    fake.add("Org/Model-GGUF", {"m.gguf": b""}, revisions={"refs/pr/1": {"m.gguf": weights}})
    model = await hub.look(HubName("Org/Model-GGUF", revision="refs/pr/1"))

    assert model.content is not None
    assert len(weights) == model.content.layers[0].size


@pytest.mark.parametrize(
    ("text", "name", "stored"),
    [
        ("hf.co/Org/Model", HubName("Org/Model"), "huggingface.co/org/model:latest"),
        ("huggingface.co/Org/M:Q8_0", HubName("Org/M", "Q8_0"), "huggingface.co/org/m:Q8_0"),
        ("hf.co/gpt2", HubName("gpt2"), "huggingface.co/gpt2:latest"),
        (
            "hf.co/Org/M:Q8_0@refs/pr/1",
            HubName("Org/M", "Q8_0", "refs/pr/1"),
            "huggingface.co/org/m:Q8_0-at-refs-pr-1",
        ),
        ("hf.co/Org/M@v1.0", HubName("Org/M", "latest", "v1.0"), "huggingface.co/org/m:latest-at-v1.0"),
    ],
)
def test_a_name_keeps_its_case_for_the_hub(text: str, name: HubName, stored: str) -> None:
    """And has none in the store; a revision becomes part of the tag."""
    assert (name, stored) == (parse_hub_name(text), str(parse_name(text)))


@pytest.mark.parametrize(
    "text", ["ai/smollm2", "hf.co/", "hf.co/a/b/c", "hf.co/../x", "hf.co/a/b@", "hf.co/a b"]
)
def test_other_texts_are_no_names_of_the_hub(text: str) -> None:
    """Nothing of them reaches an address."""
    with pytest.raises(InvalidReference):
        parse_hub_name(text)


def test_the_token_is_found_where_other_tools_keep_it(tmp_path: Path) -> None:
    """The environment first, then the file in the places that they look at."""
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("from-cache")

    assert ["env", "env", "from-file", "from-file", "from-cache", None] == [
        find_token({"HF_TOKEN": "env", "HF_HOME": str(tmp_path)}),
        find_token({"HUGGING_FACE_HUB_TOKEN": " env "}),
        find_token({"HF_TOKEN_PATH": str(tmp_path / "token")}),
        find_token({"HF_HOME": str(tmp_path)}),
        find_token({"XDG_CACHE_HOME": str(tmp_path)}),
        find_token({"HOME": str(tmp_path / "nobody")}),
    ]

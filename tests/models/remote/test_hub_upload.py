from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelrunner.errors import Unauthorized
from modelrunner.models.artifacts.packages import Extras, package_gguf
from modelrunner.models.artifacts.packaging import Draft
from modelrunner.models.description import kinds
from modelrunner.models.description.names import HubName
from modelrunner.models.remote.hub import Hub
from modelrunner.models.remote.hub_upload import HubUpload, upload_paths
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import copy
from modelrunner.oci.transport import Transport
from modelrunner.testing.artifacts import Artifacts
from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.hub import FakeHub
from modelrunner.testing.serving import serving

QUICK = RetryPolicy(first=0.001, longest=0.001)
NAME = HubName("me/my-model")


@pytest.fixture
async def fake() -> AsyncIterator[FakeHub]:
    hub = FakeHub()
    async with serving(hub) as address, serving(hub) as storage:
        hub.address, hub.storage = address, storage
        yield hub


@pytest.fixture
async def hub(fake: FakeHub) -> AsyncIterator[Hub]:
    async with Transport(Credentials({}), user_agent="test", retry=QUICK, timeouts=Timeouts()) as transport:
        yield Hub(transport, fake.address, "hf_mine")


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    licence = tmp_path / "LICENSE"
    licence.write_text("free")
    return package_gguf(tiny_gguf(tmp_path / "m-F16.gguf"), Extras(licenses=[licence]))


async def _push(hub: Hub, draft: Draft) -> HubUpload:
    upload = HubUpload(hub, NAME, draft.manifest_value, None)
    await upload.ensure()
    await copy(draft, upload, draft.manifest_value, [], retry=QUICK)
    return upload


async def test_a_model_becomes_a_repository_with_its_own_file_names(
    fake: FakeHub, hub: Hub, draft: Draft
) -> None:
    """Weights through the storage, small files in the commit; a new repository is private."""
    upload = await _push(hub, draft)

    assert upload.created
    assert {
        "m-F16.gguf": draft.paths[draft.manifest_value.layers[0].digest].read_bytes(),
        "LICENSE": b"free",
    } == fake.repositories["me/my-model"].files
    create = next(request for request in fake.seen if request.path == "/api/repos/create")
    assert b'"private":true' in create.body


async def test_what_the_storage_has_is_not_sent_again(fake: FakeHub, hub: Hub, draft: Draft) -> None:
    """Only the commit is made anew."""
    await _push(hub, draft)
    fake.seen.clear()
    upload = await _push(hub, draft)

    assert not upload.created
    assert [] == [request.line for request in fake.seen if request.method == "PUT"]


async def test_a_large_file_goes_in_the_parts_that_the_hub_asks_for(
    fake: FakeHub, hub: Hub, draft: Draft
) -> None:
    """Each with its own address, and then the list of them; none of them sees the token."""
    fake.part = 100
    weights = draft.manifest_value.layers[0]
    fake.objects.clear()
    fake.add("me/my-model", {})
    upload = HubUpload(hub, NAME, draft.manifest_value, None)
    async with upload.claim(weights) as present, draft.open(weights) as (_, chunks):
        assert 0 == present
        await upload.write(weights, 0, chunks)

    puts = [request for request in fake.seen if request.method == "PUT"]
    content = draft.paths[weights.digest].read_bytes()
    assert content == b"".join(request.body for request in puts)
    assert [f"/storage/{weights.digest.hex}/{n}" for n in range(1, len(puts) + 1)] == [
        each.path for each in puts
    ]
    assert all("authorization" not in request.headers for request in puts)
    assert f"POST /storage/{weights.digest.hex}/complete" == fake.seen[-1].line


async def test_without_a_token_nothing_is_sent(fake: FakeHub, hub: Hub, draft: Draft) -> None:
    """The error says how to get one."""
    nobody = Hub(hub.transport, fake.address)

    with pytest.raises(Unauthorized, match="no token to push to Hugging Face"):
        await _push(nobody, draft)
    assert [] == fake.seen


def test_layers_keep_the_name_that_they_were_packaged_under(draft: Draft) -> None:
    """Whatever their type."""
    assert ["m-F16.gguf", "LICENSE"] == list(upload_paths(draft.manifest_value).values())


def test_layers_without_a_name_get_a_usual_one(tmp_path: Path) -> None:
    """As those of older artifacts; shards get one name each."""
    layers = [
        (kinds.GGUF_LAYER, None, b"1"),
        (kinds.GGUF_LAYER, None, b"2"),
        (kinds.TEMPLATE_LAYER, None, b"3"),
        (kinds.LICENSE_LAYER, "free.txt", b"4"),
    ]
    manifest, _ = Artifacts(tmp_path).make(layers)

    assert [
        "model-00001-of-00002.gguf",
        "model-00002-of-00002.gguf",
        "chat_template.jinja",
        "free.txt",
    ] == list(upload_paths(manifest).values())

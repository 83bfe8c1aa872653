"""What a registry may send: each is refused with its own error, and the store stays as it was."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.errors import (
    DigestMismatch,
    InsufficientStorage,
    ModelNotFound,
    RegistryError,
    Unauthorized,
    UnsupportedModel,
)
from modelrunner.oci.digest import Digest
from modelrunner.oci.manifest import MAX_MANIFEST_BYTES, OCI_INDEX
from modelrunner.testing.artifacts import make_artifact
from modelrunner.testing.registry import Access, FakeRegistry, answer, refuse
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from modelrunner.errors import RunnerError
    from tests.server.conftest import Daemon

ARTIFACT = make_artifact(b"weights" * 1000, b"more")
LAYER, MORE = ARTIFACT.layers
NAME = "team/model"
LINES = {"Accept": "application/json, application/vnd.modelrunner.error+json"}


@dataclass(frozen=True)
class Bad:
    """Something that a registry does, the error that it has to be, and words that it has to have."""

    does: Callable[[FakeRegistry], object]
    error: "type[RunnerError]"
    words: str


def _publish(fake: FakeRegistry, document: object, media_type: str | None = None) -> None:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    fake.manifests[NAME, "v1"] = (media_type or ARTIFACT.content.media_type, raw)


def _changed(**changes: Any) -> dict[str, Any]:
    return {**json.loads(ARTIFACT.content.raw), **changes}


def _layer(**changes: Any) -> dict[str, Any]:
    """The manifest with another first layer."""
    document = _changed()
    document["layers"][0] |= changes
    return document


def _everywhere(pattern: str, spoil: Any) -> Callable[[FakeRegistry], object]:
    return lambda fake: fake.fault(pattern, spoil, times=99)


BAD = {
    "other bytes": Bad(
        lambda fake: fake.blobs.update({LAYER.digest: bytes(LAYER.size)}), DigestMismatch, "digest"
    ),
    "other bytes of a configuration": Bad(
        lambda fake: fake.blobs.update({ARTIFACT.config.digest: bytes(ARTIFACT.config.size)}),
        DigestMismatch,
        "other content than its digest says",
    ),
    "a blob that is too short": Bad(
        lambda fake: fake.blobs.update({LAYER.digest: b"short"}), RegistryError, "has 5 bytes in the registry"
    ),
    "a blob that is too long": Bad(
        lambda fake: fake.blobs.update({LAYER.digest: bytes(LAYER.size + 1)}),
        RegistryError,
        "but its manifest says 7000",
    ),
    "a blob that is compressed on the way": Bad(
        _everywhere(
            f"GET .*{LAYER.digest}", lambda reply: answer(200, reply.body, Content_Encoding="gzip")(reply)
        ),
        RegistryError,
        "comes compressed",
    ),
    "no blob": Bad(
        lambda fake: fake.blobs.pop(LAYER.digest), RegistryError, "has the manifest, but not its blob"
    ),
    "a manifest under another digest": Bad(
        _everywhere(
            "GET .*/manifests/",
            lambda reply: answer(
                200,
                reply.body,
                Docker_Content_Digest=str(Digest.of(b"other")),
                Content_Type=reply.headers["Content-Type"],
            )(reply),
        ),
        DigestMismatch,
        "has the digest",
    ),
    "a manifest without an end": Bad(
        lambda fake: _publish(fake, b" " * (MAX_MANIFEST_BYTES + 1)), RegistryError, "is larger than"
    ),
    "an index": Bad(
        lambda fake: _publish(fake, {"schemaVersion": 2, "manifests": []}, OCI_INDEX),
        UnsupportedModel,
        "an index of several manifests",
    ),
    "an index that is called a manifest": Bad(
        lambda fake: _publish(
            fake, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, ARTIFACT.content.media_type
        ),
        RegistryError,
        "unusable manifest",
    ),
    "a manifest that is no JSON": Bad(lambda fake: _publish(fake, b"<html>"), RegistryError, "unusable"),
    "nesting without an end": Bad(
        lambda fake: _publish(fake, b"[" * 100_000), RegistryError, "unusable manifest"
    ),
    "a digest that is a path": Bad(
        lambda fake: _publish(fake, _layer(digest="sha256:../../../../etc/passwd")), RegistryError, "unusable"
    ),
    "a size below nothing": Bad(lambda fake: _publish(fake, _layer(size=-1)), RegistryError, "unusable"),
    "a size that no disk holds": Bad(
        lambda fake: _publish(fake, _layer(size=2**63 - 1)), InsufficientStorage, "not enough disk space"
    ),
    "a size that no number holds": Bad(
        lambda fake: _publish(fake, _layer(size=2**64)), InsufficientStorage, "18.45EB needed"
    ),
    "another kind of artifact": Bad(
        lambda fake: _publish(
            fake,
            _changed(
                config={**_changed()["config"], "mediaType": "application/vnd.oci.image.config.v1+json"}
            ),
        ),
        UnsupportedModel,
        "unsupported model config media type",
    ),
    "an endless redirect": Bad(
        _everywhere("manifests", answer(302, Location=f"/v2/{NAME}/manifests/v1")),
        RegistryError,
        "stopped after 10 redirects",
    ),
    "an endless redirect of a blob": Bad(
        _everywhere(f"GET .*{LAYER.digest}", answer(307, Location=f"/v2/{NAME}/blobs/{LAYER.digest}")),
        RegistryError,
        "stopped after 10 redirects",
    ),
    "a redirect to a file": Bad(
        _everywhere(f"GET .*{LAYER.digest}", answer(307, Location="file:///etc/passwd")),
        RegistryError,
        "no web address",
    ),
    "a realm that is a file": Bad(
        lambda fake: setattr(fake, "access", Access(bearer=True, realm="file:///etc/passwd")),
        RegistryError,
        "realm URL rejected",
    ),
    "a refusal": Bad(_everywhere("manifests", refuse(403, "DENIED")), Unauthorized, "access denied"),
    "nothing of that name": Bad(lambda fake: fake.manifests.clear(), ModelNotFound, "model not found"),
    "an error page": Bad(
        _everywhere("manifests", answer(418, b"<html>I am a teapot</html>")), RegistryError, "status 418"
    ),
}


def _files(daemon: "Daemon") -> set[str]:
    """Every file that a pull could have made, anywhere near the store; partial blobs and locks may stay."""
    paths = (path for path in daemon.folder.parent.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path) for path in paths if ".incomplete" not in path.name and "logs" not in path.parts}


@pytest.mark.parametrize("what", BAD)
async def test_what_a_bad_registry_sends_is_refused(daemon: "Daemon", what: str) -> None:
    """With a typed error and a sentence; nothing is listed, no file is left, and the next pull works."""
    bad, fake, good = BAD[what], FakeRegistry(), FakeRegistry()
    for registry in (fake, good):
        registry.add(NAME, "v1", ARTIFACT.content, ARTIFACT.contents)
    bad.does(fake)
    async with serving(fake) as url, serving(good) as elsewhere:
        before = _files(daemon)
        body = {"from": f"{url.removeprefix('http://')}/{NAME}:v1"}
        refused = await daemon.ask("POST", "/models/create", json=body, headers=LINES)
        after = _files(daemon)
        listed = await daemon.ask("GET", "/models")
        body = {"from": f"{elsewhere.removeprefix('http://')}/{NAME}:v1"}
        pulled = await daemon.ask("POST", "/models/create", json=body, headers=LINES)
        verified = await daemon.ask("POST", "/models/verify", json={}, headers=LINES)

    last = refused.lines[-1]
    said = last.get("error", last)
    assert (said["code"], bad.words in said["message"]) == (bad.error.code, True), said
    assert refused.status in {200, bad.error.status}
    leftover = {path for path in after - before if MORE.digest.hex not in path}
    assert {path for path in leftover if ARTIFACT.config.digest.hex not in path} == set()
    assert listed.json == []
    assert pulled.lines[-1]["type"] == "success"
    assert verified.lines[-1]["type"] == "success"

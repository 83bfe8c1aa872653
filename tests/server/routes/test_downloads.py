"""`POST /models/create` with the address of a file: the same engine as for registries."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from modelrunner.testing.gguf import tiny_gguf
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

LINES = {"Accept": "application/json, application/vnd.modelrunner.error+json"}
DATE = "Sun, 15 Jun 2025 12:00:00 GMT"


@dataclass
class Web:
    """A server of one file, and how it behaves."""

    content: bytes
    etag: str = '"one"'
    ranges: bool = True
    length: bool = True
    status: int = 0
    cuts: list[int] = field(default_factory=list)  # bytes after which the next long answers end
    silent_after: int | None = None  # bytes of a long answer
    changes_after: int = 0  # requests
    asked: list[tuple[int, int] | None] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        span = (int(found[1]), int(found[2]) + 1) if found and self.ranges else None
        self.asked.append(span)
        start, stop = span or (0, len(self.content))
        stop = min(stop, len(self.content))
        etag = self.etag if not self.changes_after or len(self.asked) <= self.changes_after else '"two"'
        reply = {"etag": etag, "last-modified": DATE}
        if self.length:
            reply["content-length"] = str(stop - start)
        if span:
            reply["content-range"] = f"bytes {start}-{stop - 1}/{len(self.content)}"
        pairs = [(name.encode(), value.encode()) for name, value in reply.items()]
        status = self.status or (206 if span else 200)
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        cut = self.cuts.pop(0) if self.cuts and stop - start > 1 << 20 else None
        for at in range(start, stop, 1 << 16):
            if cut is not None and at - start >= cut:
                return
            if self.silent_after is not None and at - start >= self.silent_after:
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
            piece = self.content[at : min(at + (1 << 16), stop)]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A GGUF file of 20 MiB."""
    path = tiny_gguf(tmp_path_factory.mktemp("web") / "m.gguf")
    return path.read_bytes() + os.urandom(20 << 20)


async def _pull(daemon: "Daemon", url: str) -> Any:
    return await daemon.ask("POST", "/models/create", json={"from": f"{url}/files/M-F16.gguf"}, headers=LINES)


def _stored(daemon: "Daemon", content: bytes) -> Path:
    return daemon.folder / "models" / "blobs" / "sha256" / hashlib.sha256(content).hexdigest()


async def test_a_file_becomes_a_model_over_cuts(daemon: "Daemon", content: bytes) -> None:
    """In ranges, each byte once but what was under way, under its digest and a name made of its address."""
    web = Web(content, cuts=[3 << 20, 1 << 20, 500_000])
    async with serving(web) as url:
        answer = await _pull(daemon, url)
    listed = (await daemon.ask("GET", "/models")).json

    assert answer.lines[-1]["type"] == "success", answer.text[-500:]
    assert [f"{url.removeprefix('http://')}/files/m-f16:latest"] == listed[0]["tags"]
    assert _stored(daemon, content).read_bytes() == content
    assert listed[0]["created"] == 1749988800
    assert len([span for span in web.asked if span]) > 4
    assert not list(_stored(daemon, content).parent.glob("*.incomplete*"))


async def test_a_file_that_has_not_changed_is_not_fetched_again(daemon: "Daemon", content: bytes) -> None:
    """Its size and the time of its last change are enough to know."""
    web = Web(content)
    async with serving(web) as url:
        await _pull(daemon, url)
        before = len(web.asked)
        again = await _pull(daemon, url)

    assert "Using cached model" in again.lines[-1]["message"]
    assert len(web.asked) == before + 1


async def test_a_file_that_was_cut_short_here_is_fetched_again(daemon: "Daemon", content: bytes) -> None:
    """Whatever the server says of its own."""
    async with serving(Web(content)) as url:
        await _pull(daemon, url)
        _stored(daemon, content).chmod(0o644)
        os.truncate(_stored(daemon, content), 3)
        again = await _pull(daemon, url)

    assert "success" == again.lines[-1]["type"]
    assert content == _stored(daemon, content).read_bytes()


async def test_a_server_without_ranges_is_read_from_the_start(daemon: "Daemon", content: bytes) -> None:
    """It takes one request for the bytes."""
    async with serving(Web(content, ranges=False)) as url:
        answer = await _pull(daemon, url)

    assert answer.lines[-1]["type"] == "success"
    assert _stored(daemon, content).read_bytes() == content


async def test_a_download_that_was_ended_goes_on(daemon: "Daemon", content: bytes) -> None:
    """With what is missing: the client left, and the next one gets the rest."""
    web = Web(content, silent_after=3 << 20)
    async with serving(web) as url:
        request = {"from": f"{url}/files/M-F16.gguf"}
        async with daemon.session.post(f"{daemon.url}/models/create", json=request, headers=LINES) as reply:
            async for raw in reply.content:
                if json.loads(raw)["layer"]["current"] > 2 << 20:
                    break
            reply.close()
        (partial,) = _stored(daemon, content).parent.glob("*.incomplete")
        web.silent_after, web.asked = None, []
        answer = await _pull(daemon, url)
    asked = sum(stop - start for start, stop in filter(None, web.asked) if stop - start > 1 << 20)

    assert answer.lines[-1]["type"] == "success"
    assert not partial.exists()
    assert _stored(daemon, content).read_bytes() == content
    assert asked <= len(content) - (2 << 20)


async def test_a_file_that_changes_on_the_way_is_no_mixture(daemon: "Daemon", content: bytes) -> None:
    """The pull ends with that; the next one begins with the new file."""
    web = Web(content, changes_after=3, cuts=[3 << 20])
    async with serving(web) as url:
        answer = await _pull(daemon, url)
        web.etag, web.changes_after, web.content = '"two"', 0, content + b"more"
        again = await _pull(daemon, url)

    assert "changed while it was fetched" in answer.text
    assert again.lines[-1]["type"] == "success"
    assert _stored(daemon, content + b"more").exists()
    assert not _stored(daemon, content).exists()


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"status": 404}, 404, "no such file at"),
        ({"status": 403}, 401, "refuses the file"),
        ({"status": 500}, 502, "answers with status 500"),
        ({"ranges": False, "length": False}, 422, "does not say how large the file is"),
        ({"content": b"<html>not found</html>" * 100}, 422, "not a GGUF file"),
    ],
)
async def test_what_is_no_model_is_refused(
    daemon: "Daemon",
    content: bytes,
    changes: dict[str, Any],
    status: int,
    words: str,
) -> None:
    """Before anything is stored."""
    async with serving(Web(**{"content": content, **changes})) as url:
        answer = await _pull(daemon, url)

    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert (await daemon.ask("GET", "/models")).json == []

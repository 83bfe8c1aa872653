"""A whole daemon in this process, on a real port, with the scripted engine."""

import asyncio
import contextlib
import itertools
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from modelrunner.models.artifacts.packages import Extras, package_gguf
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import parse_reference
from modelrunner.oci.transfer import copy
from modelrunner.runtime.views import ResidentView
from modelrunner.server.serve import Server, serving
from modelrunner.server.services import Services, open_services
from modelrunner.settings.loading import load
from modelrunner.store.store import Store
from modelrunner.telemetry.logs import Logs
from modelrunner.testing.daemon import fake_llama_server
from modelrunner.testing.gguf import tiny_gguf

CHAT = "/engines/v1/chat/completions"


@dataclass(slots=True)
class Answer:
    """A whole answer."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]


@dataclass(slots=True)
class Daemon:
    """The running application, and how tests speak to it."""

    url: str
    folder: Path
    services: Services
    server: Server
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request and read the whole answer."""
        async with self.session.request(method, f"{self.url}{path}", **options) as reply:
            headers = {name.lower(): value for name, value in reply.headers.items()}
            return Answer(reply.status, await reply.text(), headers)

    def chat(self, model: str = "ai/tiny", text: str = "hello world", **more: Any) -> dict[str, Any]:
        """Make the body of a chat request; `more` goes in as it is."""
        return {"model": model, "messages": [{"role": "user", "content": text}], **more}

    def stream(self, **more: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Begin a streamed chat; `more` is the body's."""
        return self.session.post(f"{self.url}{CHAT}", json=self.chat(stream=True, **more))

    async def add(
        self,
        *names: str,
        store: Store | None = None,
        title: str = "tiny",
        architecture: str = "llama",
        shape: Mapping[str, int] | None = None,
        template: str | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> Digest:
        """Put a small model into the daemon's store, or another, under some names; a title makes an id."""
        path = tiny_gguf(
            self.folder / "tiny.gguf",
            **{"general.name": title, "general.architecture": architecture},
            **{f"{architecture}.{name}": number for name, number in (shape or {}).items()},
            **({} if template is None else {"tokenizer.chat_template": template}),
            **(header or {}),
        )
        draft = await asyncio.to_thread(package_gguf, path)
        tags = [parse_reference(name) for name in names]
        await copy(draft, store or self.services.store, draft.manifest_value, tags)
        return draft.manifest_value.digest

    @property
    def residents(self) -> tuple[ResidentView, ...]:
        return self.services.pool.residents()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the pool, whose events wake this, brings about."""
        with self.services.pool.events.subscribe() as events:
            while not condition():
                await events.next()

    async def engine_says(self, words: str) -> str:
        """Wait for a line of the engine's log that has some words."""
        async with contextlib.aclosing(self.services.logs.read(follow=True, engines=True)) as lines:
            async for part in lines:
                for line in part.decode().splitlines():
                    if words in line:
                        return line
        raise AssertionError(words)


Make = Callable[..., Awaitable[Daemon]]


@pytest.fixture
async def make_daemon(tmp_path: Path) -> AsyncIterator[Make]:
    """Start daemons with other settings than the usual: variables of the environment by name."""
    async with contextlib.AsyncExitStack() as stack:
        numbers = itertools.count(1)

        async def make(*, engine: dict[str, Any] | None = None, **variables: str) -> Daemon:
            folder = tmp_path / f"daemon-{next(numbers)}"
            environ = {
                "HOME": str(folder),
                "PATH": os.environ["PATH"],
                "TMPDIR": "/tmp",
                "MODELS_PATH": str(folder / "models"),
                "LLAMA_SERVER_PATH": str(fake_llama_server(folder / "bin")),
                "FAKE_ENGINE": json.dumps(engine or {}),
                # The recorder is a process of its own: only those who want it start one.
                "DMR_REQUESTS": "0",
                "DISABLE_METRICS": "1",
                **variables,
            }
            settings = load({"port": "0"}, environ)
            logs = Logs(settings.log_dir, limit=settings.log_size)
            stack.callback(logs.close)
            services = await stack.enter_async_context(open_services(settings, environ, logs))
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = await stack.enter_async_context(serving(services, settings, listener))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            return Daemon(url, folder, services, server, session)

        yield make


@pytest.fixture
async def daemon(make_daemon: Make) -> Daemon:
    """A running daemon with an empty store."""
    return await make_daemon()


@pytest.fixture
async def tiny(daemon: Daemon) -> Daemon:
    """A running daemon with the model `ai/tiny`."""
    await daemon.add("docker.io/ai/tiny:latest")
    return daemon


@pytest.fixture
async def able(make_daemon: Make) -> Daemon:
    """A daemon with a model `ai/tiny` that is known to be able to do everything."""
    daemon = await make_daemon(engine={"tokenizes": True})
    path = tiny_gguf(
        daemon.folder / "able.gguf",
        **{"tokenizer.chat_template": "{{ messages }}{# tools, enable_thinking #}"},
        **{"tokenizer.ggml.fim_pre_token_id": 3},
    )
    sees = tiny_gguf(
        daemon.folder / "sees.gguf", **{"general.type": "mmproj", "general.architecture": "clip"}
    )
    draft = await asyncio.to_thread(package_gguf, path, Extras(projector=sees))
    tags = [parse_reference("docker.io/ai/tiny:latest")]
    await copy(draft, daemon.services.store, draft.manifest_value, tags)
    return daemon

"""Everything the daemon is made of: opened in one place, closed in the reverse order."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from modelrunner import __version__
from modelrunner.engines.base import EngineSettings
from modelrunner.engines.registry import Engines, load_engines
from modelrunner.errors import RunnerError
from modelrunner.models.description.names import as_id, parse_name
from modelrunner.models.remote.hub import Hub
from modelrunner.models.remote.hub_token import find_token
from modelrunner.oci.certificates import Certificates, docker_folders
from modelrunner.oci.connections import Timeouts
from modelrunner.oci.credentials import Credentials
from modelrunner.oci.registry import Registry
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transport import Transport
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.processes.confinement import Sandbox, Sandboxing
from modelrunner.runtime.processes.guardian import Guardian
from modelrunner.runtime.processes.run_directory import RunDirectory, parents
from modelrunner.runtime.processes.workspace import Workspaces
from modelrunner.runtime.states.state_files import StateFiles
from modelrunner.search.docker_hub import DockerHub
from modelrunner.search.found import Source
from modelrunner.search.hugging_face import HuggingFace
from modelrunner.search.pages import Pages
from modelrunner.server.configuration.configuration_file import ConfigurationFile
from modelrunner.server.configuration.configurations import Configurations
from modelrunner.server.connection.cancel_scope import Group
from modelrunner.server.inference.responding import Responding
from modelrunner.server.inference.response_store import ResponseStore
from modelrunner.server.inspection.insight import Insight
from modelrunner.server.library.abilities import Abilities
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.library.remote_search import RemoteSearch
from modelrunner.server.loading.configuring import Configuring
from modelrunner.server.loading.context_size import ContextSizes
from modelrunner.server.loading.health import Health
from modelrunner.server.loading.loader import Loader
from modelrunner.server.loading.memory import Memory
from modelrunner.server.loading.pinned import PinnedModels
from modelrunner.server.loading.preloading import Preloading
from modelrunner.server.loading.preparing import Preparing
from modelrunner.server.observing import Observing
from modelrunner.server.transfers.adopting import Adopting
from modelrunner.server.transfers.background_transfers import BackgroundTransfers
from modelrunner.server.transfers.installing import Installing
from modelrunner.server.transfers.transfers import Transfers
from modelrunner.server.transfers.unfinished import Unfinished
from modelrunner.server.transfers.verifying import Verifying
from modelrunner.settings.folders import home
from modelrunner.settings.table import Settings
from modelrunner.store.layout import Layout
from modelrunner.store.locks import FileLock
from modelrunner.store.store import Store
from modelrunner.telemetry.logs import Logs
from modelrunner.units import format_bytes

_log = logging.getLogger(__name__)
_UNFINISHED_KEPT = 7 * 86400.0  # seconds; as long as the store keeps partial files
_STOP_WITHIN = 10.0  # seconds for requests that outlived the drain; engines are stopped after that


@dataclass(slots=True)
class Services:
    """What the routes work with. `requests` are given time when the daemon stops, `streams` end at once."""

    settings: Settings
    store: Store
    catalogue: Catalogue
    engines: Engines
    pool: Pool[Instance]
    loader: Loader
    configurations: Configurations
    configuring: Configuring
    preloading: Preloading
    states: StateFiles
    transfers: Transfers
    background_transfers: BackgroundTransfers
    unfinished: Unfinished
    remote_search: RemoteSearch
    adopting: Adopting
    verifying: Verifying
    insight: Insight
    health: Health
    memory: Memory
    installing: Installing
    abilities: Abilities
    contexts: ContextSizes
    responding: Responding
    observing: Observing
    logs: Logs
    sandbox: Sandbox
    requests: Group = field(default_factory=Group)
    streams: Group = field(default_factory=Group)
    _background: set[asyncio.Task[None]] = field(default_factory=set)

    def preload(self, names: Sequence[str]) -> None:
        """Load in the background what is pinned, then the named models."""
        pinned = (key for key, configured in self.configurations.items() if configured.pinned)
        self.preloading.begin_all(pinned, names)

    def tidy(self) -> None:
        """Delete in the background what pulls that were never finished left in the store."""
        self._in_background(self._tidy(), "tidy")

    def _in_background(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tidy(self) -> None:
        try:
            freed = await self.store.collect_garbage(_UNFINISHED_KEPT)
            await asyncio.to_thread(self.states.trim)
        except RunnerError as exc:
            _log.warning("store not tidied error=%s", exc)
        else:
            _log.info("store tidied freed=%s", format_bytes(freed))

    async def close(self) -> None:
        """Stop what is loaded; the process of every engine is gone afterwards."""
        self.unfinished.end()
        await self.background_transfers.close()
        await self.installing.close()
        await self.responding.close()
        await self.pool.close(_STOP_WITHIN)
        await self.preloading.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)


def _programs(settings: Settings) -> Mapping[str, Path]:
    """The programs and environments that the user named, by engine."""
    named = {
        "vllm": settings.vllm_server_path,
        "sglang": settings.sglang_server_path,
        "mlx": settings.mlx_server_path,
        "diffusers": settings.diffusers_server_path,
        "whisper": settings.whisper_server_path,
        "piper": settings.piper_server_path,
    }
    return {name: path for name, path in named.items() if path is not None}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where models come from. The transport is for everything but registries, and knows no credentials."""

    registry: Registry
    transport: Transport
    hub: Hub


def _engines(settings: Settings) -> Engines:
    return load_engines(
        EngineSettings(
            server_path=settings.llama_server_path,
            search_path=settings.search_path,
            extra_args=settings.llama_args,
            programs=_programs(settings),
            environments=settings.engines_path,
        )
    )


async def _open_remote(
    stack: contextlib.AsyncExitStack, settings: Settings, environ: Mapping[str, str]
) -> Remote:
    certificates = Certificates(settings.ca_cert, docker_folders(environ.get("HOME")))
    user_agent = f"modelrunner/{__version__} ({sys.platform})"
    registry = Registry(
        credentials=Credentials(environ),
        user_agent=user_agent,
        insecure=frozenset(settings.insecure_registries),
        insecure_all=settings.insecure_registry,
        private_realms=frozenset(settings.private_realms),
        mirrors=settings.mirrors,
        certificates=certificates,
    )
    await stack.enter_async_context(registry)
    transport = Transport(
        Credentials({}),  # the hub has tokens of its own
        user_agent=user_agent,
        retry=RetryPolicy(),
        timeouts=Timeouts(),
        certificates=certificates,
    )
    await stack.enter_async_context(transport)
    return Remote(registry, transport, Hub(transport, settings.hf_endpoint, find_token(environ)))


def _remote_search(
    remote: Remote, settings: Settings, environ: Mapping[str, str], memory: Memory
) -> RemoteSearch:
    docker_hub = Pages(remote.transport, settings.hub_endpoint, Source.DOCKER_HUB)
    hugging_face = Pages(remote.transport, settings.hf_endpoint, Source.HUGGING_FACE, find_token(environ))
    return RemoteSearch(
        {
            "dockerhub": DockerHub(docker_hub, remote.registry),
            "huggingface": HuggingFace(hugging_face, remote.hub),
        },
        memory.total,
    )


@contextlib.asynccontextmanager
async def open_services(
    settings: Settings, environ: Mapping[str, str], logs: Logs
) -> AsyncIterator[Services]:
    """Build everything from the settings; each part gets only the values that it needs.

    `environ` is for credentials, for the place of sockets, and what engines inherit.

    Raises:
        StoreError: the store cannot be opened.
        InvalidRequest: a setting that only an engine can judge is wrong.
    """
    engines = _engines(settings)
    parse = partial(parse_name, default_registry=settings.default_registry)
    store = Store(settings.models_path, parse=parse, as_id=as_id, default_registry=settings.default_registry)
    async with contextlib.AsyncExitStack() as stack:
        run = RunDirectory.create(parents(environ))
        stack.callback(run.close)
        own_home = Path(home(sys.platform, environ))
        sandbox = Sandbox(Sandboxing(settings.sandbox), own_home)
        guardian = Guardian(run.path)
        stack.push_async_callback(guardian.close)
        await guardian.open()
        remote = await _open_remote(stack, settings, environ)
        catalogue = Catalogue(store, engines)
        places = Layout(store.root)
        configurations = Configurations(
            ConfigurationFile(places.configurations, places.configurations_lock, places.quarantine),
            snapshot=lambda: store.snapshot,
            keep_alive=settings.keep_alive,
        )
        states = StateFiles(settings.prompt_cache_path, settings.prompt_cache)
        preparing = Preparing(
            store=store,
            catalogue=catalogue,
            engines=engines,
            configurations=configurations,
            states=states,
        )
        loader = Loader(preparing, Workspaces(run, sandbox, guardian), environ, logs.engine_line)
        memory = Memory(preparing, settings.memory)
        pool = Pool(
            loader.start,
            places=settings.places,
            wishes=configurations,
            estimate=memory.estimate,
            memory=memory.capacity,
            look=memory.look,
            queue=settings.queue,
        )
        observing = Observing.create(
            settings,
            environ,
            engines=engines,
            catalogue=catalogue,
            configurations=configurations,
            loader=loader,
            pool=pool,
        )
        stack.push_async_callback(observing.close)
        unfinished = Unfinished(places.unfinished, FileLock(places.unfinished_lock), store.missing_bytes)
        stack.callback(unfinished.close)
        unfinished.open()
        transfers = Transfers(
            store,
            catalogue,
            remote.registry,
            remote.hub,
            unfinished,
            pulls=settings.pulls,
            pull_limit=settings.pull_limit,
            default_registry=settings.default_registry,
            counted=observing.counted,
        )
        preloading = Preloading(pool, catalogue)
        configuring = Configuring(
            catalogue=catalogue,
            configurations=configurations,
            pool=pool,
            preloading=preloading,
            parse=parse,
        )
        responses = ResponseStore(
            settings.responses_path, limit=settings.responses, lifetime=settings.responses_lifetime
        )
        stack.push_async_callback(responses.close)
        services = Services(
            settings=settings,
            store=store,
            catalogue=catalogue,
            engines=engines,
            pool=pool,
            loader=loader,
            configurations=configurations,
            configuring=configuring,
            preloading=preloading,
            states=states,
            transfers=transfers,
            background_transfers=BackgroundTransfers(),
            unfinished=unfinished,
            remote_search=_remote_search(remote, settings, environ, memory),
            adopting=Adopting(store, environ, own_home),
            verifying=Verifying(store, catalogue, transfers),
            insight=Insight(pool, catalogue),
            health=Health(pool, loader, catalogue, patience=settings.stalled_after),
            memory=memory,
            installing=Installing(
                engines,
                catalogue,
                pool,
                unload=preloading.unload,
                environ=environ,
                log=logs.engine_line,
            ),
            abilities=Abilities(store, catalogue, engines),
            contexts=ContextSizes(
                catalogue=catalogue,
                engines=engines,
                configurations=configurations,
                configuring=configuring,
                loader=loader,
            ),
            responding=Responding(pool, catalogue, responses, observing.recording),
            observing=observing,
            logs=logs,
            sandbox=sandbox,
        )
        stack.push_async_callback(services.close)
        pinned_models = PinnedModels(pool, configurations.pinned)
        stack.push_async_callback(pinned_models.close)
        pinned_models.begin()
        observing.begin()
        services.tidy()
        yield services

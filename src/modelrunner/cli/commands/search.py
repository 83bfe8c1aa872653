"""`search`: models of Docker Hub and Hugging Face, found by words. Asks them itself, and no daemon."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelrunner.cli.narrow import show_table
from modelrunner.cli.output import emit, note, standard_json
from modelrunner.cli.parse import Namespace, Parser, UsageError, number
from modelrunner.cli.session import Session
from modelrunner.units import format_bytes

if TYPE_CHECKING:  # the libraries that it takes to ask a registry are loaded once somebody searches
    from contextlib import AsyncExitStack

    from modelrunner.search.found import Found
    from modelrunner.search.searching import Catalogue, Results

HEADER = ("NAME", "DESCRIPTION", "BACKEND", "SIZE", "DOWNLOADS", "STARS", "SOURCE")
_LIMIT = 32
_MOST = 1000
_DISPENSABLE = ("STARS", "DESCRIPTION", "SOURCE", "BACKEND", "DOWNLOADS")
_WIDEST = 50  # characters of a description in a table
_HUB, _HUGGING_FACE = "dockerhub", "huggingface"
_SOURCES = {
    **dict.fromkeys(("all", ""), (_HUB, _HUGGING_FACE)),
    **dict.fromkeys((_HUB, "docker", "hub"), (_HUB,)),
    **dict.fromkeys((_HUGGING_FACE, "hf"), (_HUGGING_FACE,)),
}


def configure(parser: Parser) -> None:
    """Take an optional term."""
    parser.words("[TERM]", most=1)
    parser.add_argument(
        "-n",
        "--limit",
        type=number(least=1, most=_MOST),
        default=_LIMIT,
        metavar="int",
        help=f"How many results at most (default {_LIMIT})",
    )
    parser.add_argument(
        "--source",
        default="all",
        metavar="string",
        help="Where to search: all, dockerhub or huggingface (default all)",
    )
    parser.switch("--json", help="Format output in JSON")
    parser.examples = "  search qwen\n  search --source huggingface --limit 10 llama"


def run(args: Namespace, session: Session) -> int:
    """Print a table, or a JSON array; a source that fails is a warning while another one answers."""
    sources = _SOURCES.get(args.source.lower())
    if sources is None:
        raise UsageError(
            f'unknown source "{args.source}": valid options are all, dockerhub, huggingface',
            hint="leave `--source` out to search everywhere",
        )
    term = args.words[0] if args.words else ""
    results = _search(session, sources, term, args.limit)
    for warning in results.warnings:
        note(f"Warning: {warning}")
    if args.json:
        rows = [_document(found) for found in results.found]
        emit(standard_json(rows, indent=2))
    elif not results.found:
        note(f'No models found matching "{term}"' if term else "No models found")
    else:
        show_table(HEADER, map(_row, results.found), _DISPENSABLE)
    return 0


def short_count(count: int) -> str:
    """Write how many in few characters: `999`, `45.6K`, `1.2M`."""
    if count >= 1_000_000:
        return f"{count / 1_000_000:.1f}M"
    return f"{count / 1000:.1f}K" if count >= 1000 else str(count)


def _row(found: "Found") -> Sequence[str]:
    description = " ".join(found.description.split())
    if len(description) > _WIDEST:
        description = f"{description[: _WIDEST - 3]}..."
    return (
        found.reference,
        description,
        found.backend,
        "n/a" if found.size is None else format_bytes(found.size),
        short_count(found.downloads),
        short_count(found.stars),
        found.source,
    )


def _document(found: "Found") -> dict[str, object]:
    return {
        "Name": found.name,
        "Description": found.description,
        "Downloads": found.downloads,
        "Stars": found.stars,
        "Source": found.source,
        "Official": found.official,
        "UpdatedAt": found.updated,
        "Backend": found.backend,
        "Size": "n/a" if found.size is None else format_bytes(found.size),
    }


def _search(session: Session, sources: Sequence[str], term: str, limit: int) -> "Results":
    import asyncio
    from contextlib import AsyncExitStack

    from modelrunner.search.searching import search

    async def ask() -> "Results":
        async with AsyncExitStack() as stack:
            return await search(await _catalogues(session, sources, stack), term, limit)

    return asyncio.run(ask())


async def _catalogues(session: Session, sources: Sequence[str], stack: "AsyncExitStack") -> list["Catalogue"]:
    from modelrunner.models.remote.hub import Hub
    from modelrunner.models.remote.hub_token import find_token
    from modelrunner.oci.certificates import Certificates, docker_folders
    from modelrunner.oci.connections import Timeouts
    from modelrunner.oci.credentials import Credentials
    from modelrunner.oci.registry import Registry
    from modelrunner.oci.retry import RetryPolicy
    from modelrunner.oci.transport import Transport
    from modelrunner.search.docker_hub import DockerHub
    from modelrunner.search.found import Source
    from modelrunner.search.hugging_face import HuggingFace
    from modelrunner.search.pages import Pages

    settings = session.settings
    certificates = Certificates(settings.ca_cert, docker_folders(session.environ.get("HOME")))
    retry = RetryPolicy(tries=2, connects=1, patience=2.0)  # a person waits
    transport = await stack.enter_async_context(
        Transport(
            Credentials({}),  # neither website has use for those of registries
            user_agent=session.user_agent,
            retry=retry,
            timeouts=Timeouts(connect=10.0, answer=30.0),
            certificates=certificates,
        )
    )
    catalogues: list[Catalogue] = []
    if _HUB in sources:
        registry = Registry(
            credentials=Credentials(session.environ),
            user_agent=session.user_agent,
            insecure=frozenset(settings.insecure_registries),
            insecure_all=settings.insecure_registry,
            private_realms=frozenset(settings.private_realms),
            mirrors=settings.mirrors,
            certificates=certificates,
            retry=retry,
        )
        await stack.enter_async_context(registry)
        catalogues.append(DockerHub(Pages(transport, settings.hub_endpoint, Source.DOCKER_HUB), registry))
    if _HUGGING_FACE in sources:
        token = find_token(session.environ)
        hub = Hub(transport, settings.hf_endpoint, token)
        catalogues.append(
            HuggingFace(Pages(transport, settings.hf_endpoint, Source.HUGGING_FACE, token), hub)
        )
    return catalogues

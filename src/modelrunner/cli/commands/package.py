"""`package`: a GGUF file becomes an artifact, in the store or in a registry."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from modelrunner.cli.output import note
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.progress import announce_retry, follow, meter
from modelrunner.cli.session import Session
from modelrunner.wire import RepackageRequest

Tell = Callable[..., None]  # takes the Progress of `oci.transfer`, which is imported only when needed

_FILES = ("license", "chat_template", "mmproj")


class _Files(NamedTuple):
    gguf: Path
    licenses: tuple[Path, ...]
    template: Path | None
    projector: Path | None


def configure(parser: Parser) -> None:
    """Take the artifact's name, one source, and what goes along with it."""
    parser.words("(--gguf PATH | --from MODEL) MODEL", least=1, most=1)
    parser.add_argument("--gguf", metavar="path", help="GGUF file, or the first of its shards")
    parser.add_argument("--from", dest="origin", metavar="model", help="Local model to make a variant of")
    parser.add_argument("--chat-template", metavar="path", help="Jinja chat template file")
    parser.add_argument("--mmproj", metavar="path", help="Multimodal projector file")
    parser.add_argument(
        "-l",
        "--license",
        action="append",
        default=[],
        metavar="path",
        help="License file; may be given several times",
    )
    parser.add_argument(
        "--context-size", type=number(least=0), metavar="uint64", help="Context size in tokens"
    )
    parser.switch("--push", help="Push to the registry instead of loading into the model store")


def run(args: Namespace, session: Session) -> int:
    """Make the artifact, and put it where it was asked for."""
    if args.gguf is None and args.origin is None:
        raise args.parser.wrong("One of --gguf or --from is required.")
    if args.gguf is not None and args.origin is not None:
        raise args.parser.wrong("Cannot specify more than one of --gguf and --from.")
    if args.origin is not None:
        return _repackage(args, session)
    return _package(args, session)


def _repackage(args: Namespace, session: Session) -> int:
    """Let the daemon make a variant that shares the layers of a model it has."""
    if args.context_size is None or any(getattr(args, name) for name in _FILES):
        raise args.parser.wrong("--from takes --context-size, and no other change.")
    target, client = args.words[0], session.client()
    note(f'Reading model from daemon: "{args.origin}"')
    note(f"Setting context size {args.context_size}")
    note("Creating lightweight model variant...")
    client.repackage(args.origin, RepackageRequest(target=target, context_size=args.context_size))
    note("Model variant created successfully")
    if args.push:
        with closing(client.push(target, on_retry=announce_retry("push"))) as lines:
            note(follow(lines, "push", sys.stderr))
    return 0


def _package(args: Namespace, session: Session) -> int:
    from modelrunner.models.names import parse_name
    from modelrunner.models.packaging import package_gguf
    from modelrunner.oci.layout import archive, archive_size

    reference = parse_name(args.words[0], default_registry=session.settings.default_registry)
    files = _files(args)
    with meter("hash", sys.stderr) as shown:
        draft = package_gguf(
            files.gguf,
            licenses=files.licenses,
            template=files.template,
            projector=files.projector,
            context_size=args.context_size,
            tell=lambda done, total: shown.show("sha256", done, total, total),
        )
    manifest = draft.manifest_value

    async def push(tell: Tell) -> None:
        from modelrunner.oci.credentials import Credentials
        from modelrunner.oci.registry import Registry
        from modelrunner.oci.transfer import copy

        settings = session.settings
        async with Registry(
            credentials=Credentials(session.environ),
            insecure=frozenset(settings.insecure_registries),
            insecure_all=settings.insecure_registry,
            user_agent=session.user_agent,
        ) as registry:
            await copy(draft, registry.repository(reference), manifest, [reference], tell=tell)

    if args.push:
        _push(push, manifest.size)
    else:
        _load(archive(draft, manifest), archive_size(manifest), str(manifest.digest), session)
        session.client().tag(str(manifest.digest), reference.name, reference.tag or "latest")
        note("Model loaded successfully")
    return 0


def _files(args: Namespace) -> _Files:
    """Say what goes in. A relative path is taken from the folder we are called in."""
    files = _Files(
        _file(args.gguf),
        tuple(_file(path) for path in args.license),
        _file(args.chat_template) if args.chat_template else None,
        _file(args.mmproj) if args.mmproj else None,
    )
    note(f'Adding GGUF file from "{files.gguf}"')
    for path in files.licenses:
        note(f'Adding license file from "{path}"')
    return files


def _file(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _load(chunks: AsyncGenerator[bytes, None], size: int, model_id: str, session: Session) -> None:
    """Stream a tar archive of `size` bytes to the daemon."""
    note("Loading model to Model Runner...")
    with meter("push", sys.stderr) as shown:

        def counted() -> Generator[bytes, None, None]:
            sent = 0
            with closing(_blocking(chunks)) as pieces:
                for chunk in pieces:
                    yield chunk
                    sent += len(chunk)
                    shown.show(model_id, sent, size, size)

        with closing(counted()) as body, closing(session.client().load(body, size)) as lines:
            for _ in lines:
                pass


def _push(push: Callable[[Tell], Awaitable[None]], total: int) -> None:
    """Copy the artifact straight into its registry, with the user's own credentials; `total` is in bytes."""
    import asyncio

    from modelrunner.oci.transfer import Progress

    note("Pushing model to registry...")
    with meter("push", sys.stderr) as shown:

        def tell(step: Progress) -> None:
            shown.show(str(step.blob.digest), step.done, step.blob.size, total)

        async def pushing() -> None:
            await push(tell)

        asyncio.run(pushing())
    note("Model pushed successfully")


def _blocking(chunks: AsyncGenerator[bytes, None]) -> Generator[bytes, None, None]:
    """Walk an asynchronous stream from ordinary code; closing this closes that, in its loop."""
    import asyncio

    async def following() -> bytes | None:
        return await anext(chunks, None)

    with asyncio.Runner() as runner:
        try:
            while (chunk := runner.run(following())) is not None:
                yield chunk
        finally:
            runner.run(_close(chunks))


async def _close(chunks: AsyncGenerator[bytes, None]) -> None:
    await chunks.aclose()

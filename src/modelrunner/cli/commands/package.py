"""`package`: files, or a model that is here, become an artifact, in the store or in a registry."""

import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.cli.blocking import walk
from modelrunner.cli.handover import Handover
from modelrunner.cli.output import note
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.progress import announce_retry, follow, meter
from modelrunner.cli.session import Session
from modelrunner.wire import ExportRequest, RepackageRequest

if TYPE_CHECKING:  # the rest of the program is imported only when there is something to package
    from modelrunner.models.packages import Extras
    from modelrunner.models.packaging import Draft
    from modelrunner.oci.digest import Digest
    from modelrunner.oci.manifest import Manifest
    from modelrunner.oci.reference import Reference

Hashed = Callable[[int, int], None]

_SOURCES = {
    "gguf": "GGUF file",
    "safetensors_dir": "safetensors directory",
    "safetensors": "safetensors file",
    "dduf": "DDUF file",
}
_FORMATS = ("docker", "cncf")


def configure(parser: Parser) -> None:
    """Take the artifact's name, one source, and what goes along with it."""
    parser.words("(--gguf PATH | --safetensors-dir PATH | --dduf PATH | --from MODEL) MODEL", least=1, most=1)
    parser.add_argument("--gguf", metavar="path", help="GGUF file, or the first of its shards")
    parser.add_argument("--safetensors-dir", metavar="path", help="Directory with safetensors weights")
    parser.add_argument("--safetensors", metavar="path", help="Safetensors file, or one of its shards, alone")
    parser.add_argument("--dduf", metavar="path", help="DDUF file of a diffusion model")
    parser.add_argument("--from", dest="origin", metavar="model", help="Local model to make a variant of")
    parser.add_argument("--chat-template", metavar="path", help="Jinja chat template file")
    parser.add_argument("--mmproj", metavar="path", help="Multimodal projector file")
    _several(parser, "-l", "--license", help_text="License file; may be given several times")
    _several(parser, "--lora", help_text="LoRA adapter as GGUF; may be given several times")
    parser.add_argument(
        "--context-size", type=number(least=0), metavar="uint64", help="Context size in tokens"
    )
    parser.add_argument(
        "--format", metavar="string", help='Artifact format: "docker" (default) or "cncf" (CNCF ModelPack)'
    )
    parser.switch("--link", help="Share the files with the model store; they must not be changed any more")
    parser.switch("--push", help="Push to the registry instead of loading into the model store")


def run(args: Namespace, session: Session) -> int:
    """Make the artifact, and put it where it was asked for."""
    _check(args)
    if args.origin is not None:
        return _variant(args, session)
    reference = _reference(args, session)
    if args.push:
        _push(_drafted(args), reference, session)
        return 0
    handover = Handover(session.client(), link=args.link)
    draft = _drafted(args, handover)
    _load(draft, reference, frozenset(handover.taken), session)
    return 0


def _several(parser: Parser, *flags: str, help_text: str) -> None:
    parser.add_argument(*flags, action="append", default=[], metavar="path", help=help_text)


def _check(args: Namespace) -> None:
    given = [name for name in (*_SOURCES, "origin") if getattr(args, name) is not None]
    if not given:
        raise args.parser.wrong("One of --gguf, --safetensors-dir, --dduf, or --from is required.")
    if len(given) > 1:
        raise args.parser.wrong(
            "Cannot specify more than one of --gguf, --safetensors-dir, --dduf, or --from. "
            "Please use only one source."
        )
    if args.link and (args.push or args.origin is not None):
        raise args.parser.wrong("--link is for files that go into the model store.")
    if args.format is not None and args.format not in _FORMATS:
        raise args.parser.wrong(f'invalid --format value "{args.format}": must be "docker" or "cncf"')


def _reference(args: Namespace, session: Session) -> "Reference":
    from modelrunner.models.names import parse_name

    return parse_name(args.words[0], default_registry=session.settings.default_registry)


def _drafted(args: Namespace, handover: Handover | None = None) -> "Draft":
    """Make the artifact; the daemon reads the files where it can, unless they are not for it."""
    from modelrunner.models import packages
    from modelrunner.models.packaging import hash_files

    make = {
        "gguf": packages.package_gguf,
        "safetensors_dir": packages.package_directory,
        "safetensors": packages.package_safetensors,
        "dduf": packages.package_dduf,
    }
    name = next(name for name in _SOURCES if getattr(args, name) is not None)
    path = _file(getattr(args, name))
    note(f'Adding {_SOURCES[name]} from "{path}"')
    extras = _extras(args)
    hashing = handover.hash if handover else hash_files
    return _hashing(lambda tell: make[name](path, extras, tell=tell, hashing=hashing))


def _extras(args: Namespace) -> "Extras":
    """Say what goes along. A relative path is taken from the folder we are called in."""
    from modelrunner.models.packages import Extras

    parts = Extras(
        licenses=tuple(_file(path) for path in args.license),
        template=_file(args.chat_template) if args.chat_template else None,
        projector=_file(args.mmproj) if args.mmproj else None,
        adapters=tuple(_file(path) for path in args.lora),
        context_size=args.context_size,
        packed=args.format == "cncf",
    )
    if parts.context_size is not None:
        note(f"Setting context size {parts.context_size}")
    _announce("license file", parts.licenses)
    _announce("chat template file", [parts.template] if parts.template else [])
    _announce("multimodal projector file", [parts.projector] if parts.projector else [])
    _announce("LoRA adapter", parts.adapters)
    return parts


def _announce(what: str, paths: Sequence[Path]) -> None:
    for path in paths:
        note(f'Adding {what} from "{path}"')


def _file(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _hashing(make: Callable[[Hashed], "Draft"]) -> "Draft":
    with meter("hash", sys.stderr) as shown:
        return make(lambda done, total: shown.show("sha256", done, total, total))


def _variant(args: Namespace, session: Session) -> int:
    """Make a variant that shares the layers of a model that the daemon has."""
    reference = _reference(args, session)
    note(f'Reading model from daemon: "{args.origin}"')
    if args.license or args.chat_template or args.mmproj or args.lora or args.format:
        _changed(args, reference, session)
    else:
        _repackaged(args, session)
    note("Model variant created successfully")
    if args.push:
        with closing(session.client().push(args.words[0], on_retry=announce_retry("push"))) as lines:
            note(follow(lines, "push", sys.stderr))
    return 0


def _repackaged(args: Namespace, session: Session) -> None:
    wanted = RepackageRequest(target=args.words[0])
    if args.context_size is not None:
        note(f"Setting context size {args.context_size}")
        wanted["context_size"] = args.context_size
    note("Creating lightweight model variant...")
    session.client().repackage(args.origin, wanted)


def _changed(args: Namespace, reference: "Reference", session: Session) -> None:
    """Edit the documents here; only what is new travels, since the daemon has the layers."""
    from modelrunner.models.edit import Form, draft_variant

    form = Form(args.format) if args.format else None
    manifest, config = _documents(args.origin, session)
    extras = _extras(args)
    draft = _hashing(lambda tell: draft_variant(manifest, config, extras, form, tell=tell))
    kept = frozenset(layer.digest for layer in manifest.layers)
    _load(draft, reference, kept, session)


def _documents(model: str, session: Session) -> tuple["Manifest", bytes]:
    """The manifest and the configuration of a model that the daemon has, without its layers."""
    from modelrunner.errors import InvalidRequest
    from modelrunner.oci.manifest import parse_manifest

    client = session.client()
    everything = client.blobs()
    files = _small_files(client.export(_without(model, everything), on_size=_nothing))
    manifest = parse_manifest(files["manifest.json"])
    wanted = manifest.config.digest
    others = [digest for digest in everything if digest != str(wanted)]
    files = _small_files(client.export(_without(model, others), on_size=_nothing))
    config = files.get(f"blobs/{wanted.path}", b"")
    verifier = wanted.verifier()
    verifier.update(config)
    if not verifier.matches:
        raise InvalidRequest(f"the daemon has no configuration of `{model}`", hint="pull the model again")
    return manifest, config


def _small_files(pieces: Generator[bytes, None, None]) -> dict[str, bytes]:
    """The files of a small archive, by name."""
    import io
    import tarfile

    with closing(pieces):
        whole = io.BytesIO(b"".join(pieces))
    with tarfile.open(fileobj=whole) as archive:
        return {
            member.name: file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }


def _without(model: str, digests: list[str]) -> ExportRequest:
    return {"models": [model], "except": digests}


def _nothing(_size: int) -> None:
    """Take note of no size."""


def _load(draft: "Draft", reference: "Reference", kept: frozenset["Digest"], session: Session) -> None:
    """Stream the artifact to the daemon, and name it; blobs that are kept are there already."""
    from modelrunner.oci.image_layout import Selection, image_layout
    from modelrunner.oci.index import NamedModel

    note("Loading model to Model Runner...")
    selection = Selection((NamedModel(draft.manifest_value),), left_out=kept)
    model_id = str(draft.manifest_value.digest)
    with meter("push", sys.stderr) as shown:

        def counted(chunks: AsyncGenerator[bytes, None]) -> Generator[bytes, None, None]:
            sent = 0
            with closing(walk(chunks)) as pieces:
                for chunk in pieces:
                    yield chunk
                    sent += len(chunk)
                    shown.show(model_id, sent, selection.size, selection.size)

        with (
            closing(counted(image_layout(draft, selection))) as body,
            closing(session.client().load(body, selection.size)) as lines,
        ):
            for _ in lines:
                pass
    session.client().tag(model_id, reference.name, reference.tag or "latest")
    note("Model loaded successfully")


def _push(draft: "Draft", reference: "Reference", session: Session) -> None:
    """Copy the artifact straight into its registry, with the user's own credentials."""
    import asyncio

    from modelrunner.oci.certificates import Certificates, docker_folders
    from modelrunner.oci.credentials import Credentials
    from modelrunner.oci.registry import Registry
    from modelrunner.oci.transfer import Progress, copy

    note("Pushing model to registry...")
    settings, manifest = session.settings, draft.manifest_value
    with meter("push", sys.stderr) as shown:

        def tell(step: Progress) -> None:
            shown.show(str(step.blob.digest), step.done, step.blob.size, manifest.size)

        async def push() -> None:
            async with Registry(
                credentials=Credentials(session.environ),
                insecure=frozenset(settings.insecure_registries),
                insecure_all=settings.insecure_registry,
                private_realms=frozenset(settings.private_realms),
                certificates=Certificates(settings.ca_cert, docker_folders(session.environ.get("HOME"))),
                user_agent=session.user_agent,
            ) as registry:
                await copy(draft, registry.repository(reference), manifest, [reference], tell=tell)

        asyncio.run(push())
    note("Model pushed successfully")

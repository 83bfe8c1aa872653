"""`package`: files, or a model that is here, become an artifact, in the store or in a registry."""

import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from modelrunner.cli.blocking import walk
from modelrunner.cli.commands.push import told_when_interrupted
from modelrunner.cli.handover import Handover
from modelrunner.cli.output import note
from modelrunner.cli.parse import Namespace, Parser, number
from modelrunner.cli.progress import meter
from modelrunner.cli.session import Session
from modelrunner.errors import InvalidRequest
from modelrunner.wire.models import RepackageRequest

if TYPE_CHECKING:  # the rest of the program is imported only when there is something to package
    from modelrunner.models.artifacts.packages import Extras
    from modelrunner.models.artifacts.packaging import Draft
    from modelrunner.models.description.config import ModelConfig
    from modelrunner.oci.digest import Digest
    from modelrunner.oci.manifest import Manifest
    from modelrunner.oci.reference import Reference
    from modelrunner.oci.transfer import Source

Hashed = Callable[[int, int], None]

_SOURCES = {
    "gguf": "GGUF file",
    "safetensors_dir": "safetensors directory",
    "safetensors": "safetensors file",
    "dduf": "DDUF file",
    "whisper": "Whisper model",
    "piper": "Piper voice",
}
_CHOICES = "--gguf, --safetensors-dir, --dduf, --whisper, --piper, or --from"
_FORMATS = ("docker", "cncf")


def configure(parser: Parser) -> None:
    """Take the artifact's name, one source, and what goes along with it."""
    parser.words(
        "(--gguf PATH | --safetensors-dir PATH | --dduf PATH | --whisper PATH | --piper PATH"
        " | --from MODEL) MODEL",
        least=1,
        most=1,
    )
    parser.examples = (
        "  package --gguf ./model.gguf team/model:v1\n"
        "  package --safetensors-dir ./model --license ./LICENSE --push registry.example.com/team/model:v1\n"
        "  package --from ai/smollm2 --context-size 4096 team/small:v1"
    )
    parser.add_argument("--gguf", metavar="path", help="GGUF file, or the first of its shards")
    parser.add_argument("--safetensors-dir", metavar="path", help="Directory with safetensors weights")
    parser.add_argument("--safetensors", metavar="path", help="Safetensors file, or one of its shards, alone")
    parser.add_argument("--dduf", metavar="path", help="DDUF file of a diffusion model")
    parser.add_argument("--whisper", metavar="path", help="Directory with a Whisper model for CTranslate2")
    parser.add_argument("--piper", metavar="path", help="ONNX file of a Piper voice, with its JSON beside it")
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
    _check_target(args)
    if args.push:
        draft = _drafted(args)
        _push(draft, draft, reference, session)
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
        raise args.parser.wrong(f"One of {_CHOICES} is required.")
    if len(given) > 1:
        raise args.parser.wrong(f"Cannot specify more than one of {_CHOICES}. Please use only one source.")
    if args.link and (args.push or args.origin is not None):
        raise args.parser.wrong("--link is for files that go into the model store.")
    if args.format is not None and args.format not in _FORMATS:
        raise args.parser.wrong(f'invalid --format value "{args.format}": must be "docker" or "cncf"')


def _reference(args: Namespace, session: Session) -> "Reference":
    from modelrunner.models.description.names import parse_name

    return parse_name(args.words[0], default_registry=session.settings.default_registry)


def _check_target(args: Namespace) -> None:
    from modelrunner.models.description.names import is_hugging_face

    name = args.words[0]
    if args.push and is_hugging_face(name):
        raise InvalidRequest(
            f"--push is for registries, and Hugging Face is none: `{name}`",
            hint=f"package it without --push, then `dmr push {name}`",
        )


def _drafted(args: Namespace, handover: Handover | None = None) -> "Draft":
    """Make the artifact; the daemon reads the files where it can, unless they are not for it."""
    from modelrunner.models.artifacts import packages, speech_packages
    from modelrunner.models.artifacts.packaging import hash_files

    make = {
        "gguf": packages.package_gguf,
        "safetensors_dir": packages.package_directory,
        "safetensors": packages.package_safetensors,
        "dduf": packages.package_dduf,
        "whisper": speech_packages.package_whisper,
        "piper": speech_packages.package_piper,
    }
    name = next(name for name in _SOURCES if getattr(args, name) is not None)
    path = _file(getattr(args, name))
    note(f'Adding {_SOURCES[name]} from "{path}"')
    extras = _extras(args)
    hashing = handover.hash if handover else hash_files
    return _hashing(lambda tell: make[name](path, extras, tell=tell, hashing=hashing))


def _extras(args: Namespace) -> "Extras":
    """Say what goes along. A relative path is taken from the folder we are called in."""
    from modelrunner.models.artifacts.packages import Extras

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
    _check_target(args)
    note(f'Reading model from daemon: "{args.origin}"')
    if args.push:
        draft, model, _ = _changed(args, session)
        _push(draft, model, reference, session)
    elif args.license or args.chat_template or args.mmproj or args.lora or args.format:
        draft, _, kept = _changed(args, session)
        _load(draft, reference, kept, session)
        note("Model variant created successfully")
    else:
        _repackaged(args, session)
        note("Model variant created successfully")
    return 0


def _repackaged(args: Namespace, session: Session) -> None:
    wanted = RepackageRequest(target=args.words[0])
    if args.context_size is not None:
        note(f"Setting context size {args.context_size}")
        wanted["context_size"] = args.context_size
    note("Creating lightweight model variant...")
    session.client().repackage(args.origin, wanted)


def _changed(args: Namespace, session: Session) -> "tuple[Draft, Source, frozenset[Digest]]":
    """Edit the documents here: the variant, where all of its blobs are, and which of them the daemon has."""
    import asyncio

    from modelrunner.cli.daemon_model import DaemonModel, Joined
    from modelrunner.models.artifacts.edit import Form, draft_variant
    from modelrunner.models.description.kinds import CONFIG_CNCF

    form = Form(args.format) if args.format else None
    model = DaemonModel(session.client(), args.origin)

    async def read() -> "tuple[Manifest, bytes, ModelConfig | None]":
        manifest = await model.manifest()
        config = await model.config(manifest)
        unpacked = form is Form.DOCKER and manifest.config.media_type == CONFIG_CNCF
        return manifest, config, await model.described(manifest, config) if unpacked else None

    manifest, config, described = asyncio.run(read())
    extras = _extras(args)
    draft = _hashing(
        lambda tell: draft_variant(manifest, config, extras, form, described=described, tell=tell)
    )
    return draft, Joined(draft, model), frozenset(layer.digest for layer in manifest.layers)


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


def _push(draft: "Draft", source: "Source", reference: "Reference", session: Session) -> None:
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
                await copy(source, registry.repository(reference), manifest, [reference], tell=tell)

        with told_when_interrupted():
            asyncio.run(push())
    note("Model pushed successfully")

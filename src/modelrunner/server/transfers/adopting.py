"""Models of other programs on this machine come into the store, sharing their files where that is safe."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from modelrunner.errors import Conflict, InvalidReference, InvalidRequest, ModelNotFound, RunnerError
from modelrunner.models.artifacts.packaging import Described, File, compose, newest
from modelrunner.models.description import kinds
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.gguf_config import describe as describe_gguf
from modelrunner.models.description.names import parse_name
from modelrunner.models.description.safetensors_config import MAX_CONFIG_BYTES, context_size, describe
from modelrunner.models.local.candidate import Candidate, Found, Origin, Part, Unusable
from modelrunner.models.local.foreign_stores import find, find_at, find_everywhere, usual_places
from modelrunner.models.weights import gguf, safetensors
from modelrunner.oci.manifest import Descriptor
from modelrunner.oci.reference import Reference
from modelrunner.server.connection.progress import status_line, success_line, warning_line
from modelrunner.server.library.repackage import store_variant
from modelrunner.store.adopt import Way
from modelrunner.store.store import Store
from modelrunner.units import format_bytes
from modelrunner.wire.transfers import ProgressLine


class Adopting:
    """Finds and takes over models of other programs."""

    def __init__(self, store: Store, environ: Mapping[str, str], home: Path) -> None:
        self._store = store
        self._environ = environ
        self._home = home

    async def run(
        self, origin: str, names: Sequence[str], *, link: bool, dry_run: bool
    ) -> AsyncGenerator[ProgressLine, None]:
        """Take over what is at `origin`: a program's name, a path, or empty for all programs that are known.

        Of several models only those in `names`, if any are given. Files that somebody may write to are shared
        only when `link` asks for it. What cannot be used is told, and the rest goes on.

        Raises:
            InvalidRequest: there is no such place.
            ModelNotFound: one of `names` is not there.
        """
        found = await asyncio.to_thread(self._find, origin)
        done = 0
        for each in _chosen(found, names):
            if isinstance(each, Unusable):
                yield warning_line(f"{each.name} is left out: {each.reason}", "pull")
                continue
            try:
                name, config = await self._examine(each)
                if dry_run:
                    sentence, is_new = _prospect(each), False
                else:
                    sentence, is_new = await self._adopt(each, name, config, link=link)
            except RunnerError as exc:
                yield warning_line(f"{each.name} is left out: {_said(exc)}", "pull")
                continue
            done += is_new
            yield status_line(sentence, "pull")
        models = "model" if done == 1 else "models"
        yield success_line("Nothing was imported" if not done else f"{done} {models} imported", "pull")

    def _find(self, origin: str) -> tuple[Found, ...]:
        if not origin:
            return find_everywhere(self._environ, self._home)
        known = {str(member): member for member in Origin if member is not Origin.FILES}
        if origin in known:
            return find(known[origin], usual_places(known[origin], self._environ, self._home))
        path = Path(origin)
        if not path.is_absolute():
            raise InvalidRequest(
                f"no program that models can be imported from: `{origin}`",
                hint=f"name one of {', '.join(known)}, or a file or folder with its whole path",
            )
        return find_at(path)

    async def _examine(self, candidate: Candidate) -> tuple[Reference, ModelConfig]:
        """Find out what can be known before any byte is taken: the name of a model, and what it is.

        Raises:
            RunnerError: it cannot be taken over.
        """
        name = parse_name(candidate.name)
        owner = self._store.snapshot.find_reference(name)
        if owner is not None and _sizes(owner.manifest.layers) != _sizes(candidate.parts):
            raise _taken(name)
        return name, await asyncio.to_thread(_config, candidate)

    async def _adopt(
        self, candidate: Candidate, name: Reference, config: ModelConfig, *, link: bool
    ) -> tuple[str, bool]:
        """Take one model over; a sentence about how, and whether it was not here yet."""
        wish = Way.LINK if candidate.settled or link else Way.REFLINK
        ways: set[Way] = set()
        described: list[Described] = []
        for part in candidate.parts:
            adopted = await self._store.adopt(part.path, way=wish, expected=part.digest)
            described.append(Described(part.name, part.media_type, adopted.digest, adopted.size))
            ways |= {adopted.way} if adopted.way else set()
        manifest, config_bytes = compose(
            described, config, created=_created(candidate.parts), config_type=candidate.config_type
        )
        known = self._store.snapshot.get(manifest.digest)
        if known is not None and name in known.tags:
            return f"{name.familiar} is here already", False
        if self._store.snapshot.find_reference(name) is not None:
            raise _taken(name)
        if known is not None:
            await self._store.tag(known.id, name)
            return f"Imported {name.familiar} (a new name of what is here already)", True
        await store_variant(self._store, manifest, config_bytes, name)
        how = " and ".join(sorted(ways)) or "nothing to copy"
        rest = f"; without its {', '.join(candidate.left_out)}" if candidate.left_out else ""
        return f"Imported {name.familiar} ({how}{rest})", True


def _chosen(found: Sequence[Found], names: Sequence[str]) -> list[Found]:
    """Those with a name that was given, each of which has to be there."""
    if not names:
        return list(found)
    wanted = {parse_name(name): name for name in names}
    by_name = {reference: each for each in found if (reference := _reference(each)) is not None}
    for reference, typed in wanted.items():
        if reference not in by_name:
            raise ModelNotFound(
                f"nothing to import as `{typed}`", hint="`dmr import --dry-run` lists what there is"
            )
    return [by_name[reference] for reference in wanted]


def _reference(found: Found) -> Reference | None:
    """The name that it would get; None when there is none in the name that it has elsewhere."""
    try:
        return parse_name(found.name)
    except InvalidReference:
        return None


def _sizes(parts: Iterable[Part | Descriptor]) -> list[int]:
    return sorted(part.size for part in parts)


def _taken(name: Reference) -> Conflict:
    return Conflict(
        f"another model here has the name `{name.familiar}`",
        hint=f"`dmr rm {name.familiar}` takes it away; `dmr tag` first, and the other model stays",
    )


def _said(exc: RunnerError) -> str:
    return f"{exc.message}; {exc.hint}" if exc.hint else exc.message


def _prospect(candidate: Candidate) -> str:
    files = "1 file" if len(candidate.parts) == 1 else f"{len(candidate.parts)} files"
    return f"Would import {candidate.name} ({files}, {format_bytes(candidate.size)})"


def _config(candidate: Candidate) -> ModelConfig:
    """Describe a model by its headers; what is no model is refused here, before anything is copied.

    Raises:
        UnsupportedModel: the weights are not what they are said to be.
        InvalidRequest: they cannot be read.
    """
    of = {kind: [part.path for part in candidate.parts if part.media_type == kind] for kind in _WEIGHTS}
    for path in (*of[kinds.PROJECTOR_LAYER], *of[kinds.LORA_LAYER]):
        gguf.read_header(path)
    if of[kinds.GGUF_LAYER]:
        return describe_gguf([gguf.read_header(path) for path in of[kinds.GGUF_LAYER]])
    headers = [safetensors.read_header(path) for path in of[kinds.SAFETENSORS_LAYER]]
    if not headers:
        raise InvalidRequest(f"no weights in `{candidate.name}`")
    return describe(headers, context_size=_context(candidate.parts))


_WEIGHTS = (kinds.GGUF_LAYER, kinds.SAFETENSORS_LAYER, kinds.PROJECTOR_LAYER, kinds.LORA_LAYER)


def _context(parts: Sequence[Part]) -> int | None:
    for part in parts:
        if part.name == "config.json" and part.size <= MAX_CONFIG_BYTES:
            try:
                return context_size(part.path.read_bytes())
            except OSError:
                return None
    return None


def _created(parts: Sequence[Part]) -> datetime:
    """When the last of the files was written, in whole seconds."""
    return newest([File(part.path, part.media_type, part.name) for part in parts])

"""Every file of the store is read again; what is wrong is set aside, and pulled again when that is wanted."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import replace

from modelrunner.errors import DigestMismatch, RunnerError
from modelrunner.models.description.names import is_hugging_face
from modelrunner.oci.digest import Digest
from modelrunner.oci.reference import Reference
from modelrunner.server.connection.progress import status_line, success_line, warning_line
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.transfers.transfers import Transfers
from modelrunner.store.store import Store
from modelrunner.store.verify import Finding
from modelrunner.wire.transfers import ProgressLine

_EVERY = 0.5  # seconds between two lines of progress
_REPAIR = "pull them again, or use `dmr verify --repair`"
_CANNOT = "the lines above say why; what nobody has any more, remove with `dmr rm` and pull or package anew"


class Verifying:
    """Checks models, and repairs what can be had again."""

    def __init__(self, store: Store, catalogue: Catalogue, transfers: Transfers) -> None:
        self._store = store
        self._catalogue = catalogue
        self._transfers = transfers

    async def run(
        self, names: Sequence[str], *, repair: bool, in_use: Collection[Digest]
    ) -> AsyncGenerator[ProgressLine, None]:
        """Check some models, or all; the last line is a success only when everything is right, or is again.

        A damaged model that is loaded keeps its files, since they cannot be taken from its engine.

        Raises:
            ModelNotFound: one of `names` is not here.
            DigestMismatch: something is wrong, and was not repaired.
        """
        only = {await self._store.upkeep.find(name) for name in names} if names else None
        survey = await self._store.upkeep.survey(only)
        names_of = survey.names
        read = 0

        def count(more: int) -> None:
            nonlocal read
            read += more

        task = asyncio.ensure_future(self._store.upkeep.examine(survey, count=count))
        try:
            while not (await asyncio.wait([task], timeout=_EVERY))[0]:
                yield _progress(read, survey.total)
            findings = task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        yield _progress(survey.total, survey.total)
        for finding in findings:
            yield warning_line(_sentence(finding, names_of), "pull")
        loaded = tuple(finding for finding in findings if set(finding.check.models) & set(in_use))
        for finding in loaded:
            yield warning_line(f"{finding.check.digest.short} is in use, and is left where it is", "pull")
        moved = await self._store.upkeep.set_aside(each for each in findings if each not in loaded)
        for path in moved.values():
            yield status_line(f"Set aside as {path}", "pull")
        others = await self._store.upkeep.other_bundles(survey)
        await self._store.upkeep.drop_bundles(model for model in others if model not in in_use)
        damaged = {model for finding in findings for model in finding.check.models}
        if repair and damaged:
            kept = {model for finding in loaded for model in finding.check.models}
            async with contextlib.aclosing(self._repair(damaged - kept, names_of)) as lines:
                async for line in lines:
                    yield line
            damaged -= {model.id for model in self._catalogue.models} - kept
        if damaged:
            raise DigestMismatch(
                f"{_count(len(damaged))} damaged, of {len(names_of)} that were checked",
                hint=_CANNOT if repair else _REPAIR,
            )
        yield success_line(f"{len(survey.checks)} files are right", "pull")

    async def _repair(
        self, damaged: Collection[Digest], names_of: Mapping[Digest, tuple[Reference, ...]]
    ) -> AsyncGenerator[ProgressLine, None]:
        for model in damaged:
            if not names_of[model]:
                yield warning_line(f"{model.short} has no name, and cannot be pulled again", "pull")
            failures: list[str] = []
            for name in names_of[model]:
                yield status_line(f"Pulling {name.familiar} again", "pull")
                try:
                    async with contextlib.aclosing(self._transfers.pull(_exactly(model, name))) as lines:
                        async for line in lines:
                            if line["type"] != "success":
                                yield line
                except RunnerError as exc:
                    failures.append(f"{name.familiar} cannot be repaired: {exc.message}")
                if self._store.snapshot.get(model) is not None:
                    break
            else:
                for failure in failures:
                    yield warning_line(failure, "pull")


def _exactly(model: Digest, name: Reference) -> str:
    """What to ask for: the model itself, as its name may mean another by now; the hub knows only names."""
    text = str(name)
    return text if is_hugging_face(text) else str(replace(name, tag=None, digest=model))


def _count(models: int) -> str:
    return "1 model is" if models == 1 else f"{models} models are"


def _progress(done: int, total: int) -> ProgressLine:
    return {
        "type": "progress",
        "message": "",
        "total": total,
        "layer": {"id": "verify", "size": total, "current": min(done, total)},
        "mode": "pull",
    }


def _sentence(finding: Finding, names_of: Mapping[Digest, tuple[Reference, ...]]) -> str:
    users = [
        names_of[model][0].familiar if names_of.get(model) else model.short for model in finding.check.models
    ]
    return f"{finding.damage}: {finding.check.digest} of {', '.join(users)}"

"""Looking after a store: are its files right, and what in it does nobody need?

What is found is said before anything is done about it; models that are just used are the caller's to know.
"""

import asyncio
import os
import threading
import time
from collections.abc import Collection, Container, Iterable
from functools import partial
from pathlib import Path

from modelrunner.errors import ModelNotFound
from modelrunner.oci.digest import Digest
from modelrunner.store import garbage, verify
from modelrunner.store.adopt import Count, ignore
from modelrunner.store.garbage import Leftover
from modelrunner.store.indexfile import IndexFile
from modelrunner.store.layout import Layout
from modelrunner.store.locks import Turns
from modelrunner.store.offload import in_thread
from modelrunner.store.verify import Finding, Survey


class Upkeep:
    """Checks and tidies one store; a part of it, made by it."""

    def __init__(
        self,
        layout: Layout,
        turns: Turns,
        index_file: IndexFile,
        editing: asyncio.Lock,
        wanted: Container[Digest],
    ) -> None:
        self._layout = layout
        self._turns = turns
        self._index_file = index_file
        self._editing = editing
        self._wanted = wanted

    async def find(self, text: str) -> Digest:
        """The model that a text names, as `Snapshot.find_loosely` finds it, but also when it is damaged.

        Raises:
            InvalidReference: the text is neither an id nor a name.
            ModelNotFound: no such model here.
            StoreError: the index cannot be read.
        """
        return await in_thread(self._find, text)

    async def survey(self, models: Collection[Digest] | None = None) -> Survey:
        """Find out which files are to be read for some models, or for all that are listed.

        Raises:
            StoreError: the index cannot be read.
        """
        return await in_thread(self._survey, models)

    async def examine(self, survey: Survey, *, count: Count = ignore) -> tuple[Finding, ...]:
        """Read the files and compare them with their names; `count` is told of bytes, from threads.

        What somebody removed meanwhile is not found missing.
        """
        stop = threading.Event()
        found = await in_thread(partial(verify.examine, survey.checks, count=count, stop=stop), stop=stop)
        if not found:
            return ()
        still = {check.digest for check in (await self.survey()).checks}
        return tuple(finding for finding in found if finding.check.digest in still)

    async def set_aside(self, findings: Iterable[Finding]) -> dict[Digest, Path]:
        """Move what is wrong into quarantine, with the bundles made of it; says by digest where it is now.

        The models that need it count as damaged from now on.

        Raises:
            StoreError: the disk refuses.
        """
        async with self._editing:
            return await in_thread(self._set_aside, tuple(findings))

    async def other_bundles(self, survey: Survey) -> tuple[Digest, ...]:
        """The models that are laid out for engines with other weights than their blobs."""
        stop = threading.Event()

        def look() -> tuple[Digest, ...]:
            return tuple(
                model
                for model, manifest in survey.manifests
                if verify.has_other_bundle(self._layout, model, manifest, stop=stop)
            )

        return await in_thread(look, stop=stop)

    async def drop_bundles(self, models: Iterable[Digest]) -> None:
        """Delete what was laid out of some models; it is laid out anew when one is loaded."""

        def drop() -> None:
            for model in models:
                verify.drop_bundle(self._layout, model)

        await in_thread(drop)

    async def leftovers(self, older_than: float, *, damaged: bool = False) -> tuple[Leftover, ...]:
        """What nothing names and is older than some seconds; with what was set aside, if `damaged`.

        Raises:
            StoreError: the index cannot be read.
        """
        return await in_thread(partial(self._leftovers, older_than, damaged=damaged))

    async def prune(self, older_than: float, *, damaged: bool = False) -> tuple[tuple[Leftover, ...], int]:
        """Delete what `leftovers` finds; what that was, and the bytes that were freed.

        Raises:
            StoreError: the index cannot be read, or another process does not let go of it.
        """
        async with self._editing:
            return await in_thread(partial(self._prune, older_than, damaged=damaged))

    def _find(self, text: str) -> Digest:
        names = self._index_file.names(self._index_file.read())
        match = names.match(text) or names.match_bare(text)
        if match is None:
            raise ModelNotFound(f"model not found: `{text}`", hint="see what is here with `dmr list`")
        return match.model

    def _survey(self, models: Collection[Digest] | None) -> Survey:
        return verify.survey(self._index_file.read(), self._layout, models)

    def _set_aside(self, findings: tuple[Finding, ...]) -> dict[Digest, Path]:
        moved: dict[Digest, Path] = {}
        with self._index_file.edit():
            for finding in findings:
                # Before the file itself: a bundle that outlived it would still be loaded.
                for model in finding.check.models:
                    verify.drop_bundle(self._layout, model)
                target = verify.set_aside(self._layout, self._turns, finding)
                if target is not None:
                    moved[finding.check.digest] = target
            self._index_file.doubt({model for finding in findings for model in finding.check.models})
        return moved

    def _leftovers(self, older_than: float, *, damaged: bool) -> tuple[Leftover, ...]:
        oldest = time.time() - older_than
        index = self._index_file.read()
        found = garbage.leftovers(self._layout, self._turns, index, oldest=oldest, wanted=self._wanted)
        return (*found, *(garbage.quarantined(self._layout) if damaged else ()))

    def _prune(self, older_than: float, *, damaged: bool) -> tuple[tuple[Leftover, ...], int]:
        with self._index_file.edit():
            found = self._leftovers(older_than, damaged=damaged)
            freed = sum(garbage.remove(self._layout, self._turns, leftover) for leftover in found)
            return tuple(each for each in found if not os.path.lexists(each.path)), freed

"""Changes of how models are run: what is idle is stopped for them, what is in use stands in their way."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from modelrunner.errors import Conflict, InvalidReference
from modelrunner.models.description.kinds import Mode
from modelrunner.models.description.names import as_id
from modelrunner.oci.reference import Reference
from modelrunner.runtime.instance import Instance
from modelrunner.runtime.pool import Pool
from modelrunner.runtime.scheduling.plan import Key, Reason
from modelrunner.server.configuration.configuration import (
    Configuration,
    configuration,
    merge,
    mode_of,
    replacement,
)
from modelrunner.server.configuration.configurations import Change, Configurations
from modelrunner.server.library.catalogue import Catalogue
from modelrunner.server.loading.preloading import Preloading
from modelrunner.wire.configuration import ConfigureOptions, ConfigureRequest


class Configuring:
    """Applies configurations.

    The engine is chosen first, so that flags are judged by its list. What an engine need not be started again
    for is accepted whatever it is doing. All raise what `Catalogue.key` and `configuration` raise, Conflict
    while an instance that would have to be started again is in use, and StoreError when nothing can be saved.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        configurations: Configurations,
        pool: Pool[Instance],
        preloading: Preloading,
        parse: Callable[[str], Reference],
    ) -> None:
        """`parse` reads what somebody typed as a name."""
        self._catalogue = catalogue
        self._configurations = configurations
        self._pool = pool
        self._preloading = preloading
        self._parse = parse

    async def replace(self, request: ConfigureRequest, engine: str | None) -> Key:
        """Run a model like this from now on, and load it; says which that is."""
        key = await self._key(request, engine)
        before = self._configurations.exact(key) or Configuration()
        options = replacement(before.as_wire(), _options(request))
        await self._put(key, request["model"], configuration(options, key.engine))
        self._preloading.begin(key, Reason.CONFIGURED)
        return key

    async def change(self, request: ConfigureRequest, engine: str | None) -> Key:
        """Change what a request names; load the model again if it was here, and if it is pinned now."""
        key, after = await self.trial(request, engine)
        was_here = self._is_here(key)
        await self._put(key, request["model"], after)
        if after.pinned or (was_here and not self._is_here(key)):
            self._preloading.begin(key, Reason.CONFIGURED if was_here else Reason.PINNED)
        return key

    async def trial(self, request: ConfigureRequest, engine: str | None) -> tuple[Key, Configuration]:
        """Say what `change` would have hold for which instance; nothing changes."""
        key = await self._key(request, engine)
        before = self._configurations.effective(key)
        if not self._configurations.pinned(key):
            before = replace(before, pinned=False)
        options = merge(before.as_wire(), _options(request))
        return key, replace(configuration(options, key.engine), later=before.later)

    async def reset(self, text: str, mode: Mode | None, engine: str | None) -> int:
        """Forget how a model is to be run, in a mode or in all; says how many configurations that were."""
        model = self._catalogue.find(text)
        keys = [
            key
            for key in self._configurations.of_model(model.id)
            if mode in {None, key.mode} and engine in {None, key.engine}
        ]
        await self._apply(keys, lambda: self._configurations.forget(keys))
        return len(keys)

    async def reset_all(self) -> int:
        """Forget how any model is to be run."""
        keys = [key for key, _ in self._configurations.items()]
        await self._apply(keys, self._configurations.forget_all)
        return len(keys)

    async def _key(self, request: ConfigureRequest, engine: str | None) -> Key:
        mode = mode_of(request)
        if mode is None:
            return await self._catalogue.usual_key(request["model"], engine)
        return await self._catalogue.key((request["model"], mode, engine))

    async def _put(self, key: Key, text: str, new: Configuration) -> None:
        name = self._name(text, key)
        await self._apply([key], lambda: self._configurations.put(key, name, new))

    async def _apply(self, keys: Iterable[Key], make: Callable[[], Change]) -> None:
        """Make a change in memory, stop what runs otherwise, and make it last.

        A load that begins while the old instance ends finds the new configuration: memory comes first.
        """
        affected = {other for key in keys for other in self._configurations.affected(key)}
        trial, restarts = self._made(affected, make)
        self._configurations.take_back(trial)
        await self._preloading.withdraw(set(restarts).__contains__)  # for what is out of date
        change, restarts = self._made(affected, make)
        try:
            await self._stop(restarts)
        except BaseException:
            self._configurations.take_back(change)
            raise
        await self._configurations.save(change)
        self._pool.settle()  # what stays has another keep-alive now

    def _made(self, affected: Iterable[Key], make: Callable[[], Change]) -> tuple[Change, list[Key]]:
        """Make a change in memory, and say whose engine it would start otherwise."""
        before = {key: self._configurations.effective(key) for key in affected}
        change = make()
        effective = self._configurations.effective
        return change, [key for key, old in before.items() if not old.runs_like(effective(key))]

    async def _stop(self, keys: Iterable[Key]) -> None:
        here = [resident for resident in self._pool.residents() if resident.key in keys]
        for resident in here:
            if resident.leases:
                raise self._in_use(resident.key)
        # One that loads for somebody refuses too, before anything was stopped.
        for resident in sorted(here, key=lambda resident: not resident.loading):
            if not await self._pool.reload(resident.key):
                raise self._in_use(resident.key)

    def _in_use(self, key: Key) -> Conflict:
        return Conflict(
            f"runner already active: `{self._catalogue.by_id(key.model).name}`",
            hint="try again when its requests have ended",
        )

    def _is_here(self, key: Key) -> bool:
        return any(resident.key == key for resident in self._pool.residents())

    def _name(self, text: str, key: Key) -> Reference | None:
        """The name that a text is for a model; None when it is an id, or a piece of one."""
        if as_id(text) is not None or "@" in text:
            return None
        tags = self._catalogue.by_id(key.model).tags
        try:
            name = self._parse(text).without_digest
        except InvalidReference:
            return None
        return name if name in tags else next((t for t in tags if t.name.split("/")[-1] == text), None)


def _options(request: ConfigureRequest) -> ConfigureOptions:
    """A request without what it is about."""
    options = {**request}
    options.pop("model", None)
    options.pop("mode", None)
    return options  # type: ignore[return-value]  # a ConfigureRequest is these two keys and ConfigureOptions

"""A file of a web server comes into the store by the same engine as a blob of a registry."""

from collections.abc import AsyncGenerator

from modelrunner.models.remote.web import WebFile
from modelrunner.oci.digest import Digest
from modelrunner.oci.fetch import Lanes, fetch
from modelrunner.oci.pace import Pace
from modelrunner.oci.reference import Reference
from modelrunner.oci.retry import RetryPolicy
from modelrunner.oci.transfer import Progress, Tell
from modelrunner.server.connection.progress import reported
from modelrunner.server.library.repackage import store_variant
from modelrunner.store.store import Store
from modelrunner.wire.transfers import ProgressLine


async def download(
    store: Store, file: WebFile, name: Reference, pace: Pace
) -> AsyncGenerator[ProgressLine, None]:
    """Fetch a file, and make it a model of that name.

    Raises:
        RunnerError: the server refuses or breaks off, it is no model, or the disk is full.
    """
    config = await file.config()
    provisional, _ = file.compose(config, file.key.digest)
    await store.ensure_room(provisional)
    found: list[Digest] = []

    async def move(tell: Tell) -> None:
        async with store.land_unnamed(file.key) as landing:
            await fetch(
                file,
                file.key,
                landing,
                lanes=Lanes(),
                tell=lambda done: tell(Progress(file.key, done)),
                pace=pace,
                retry=RetryPolicy(),
            )
            await landing.finish()
            found.append(landing.digest)
        tell(Progress(file.key, file.key.size))

    async for line in reported(move, provisional, "pull"):
        yield line
    await store_variant(store, *file.compose(config, found[0]), name)

"""What the daemon does by itself when it starts."""

import asyncio
import os
import time
from pathlib import Path

from modelrunner.oci.digest import Digest
from modelrunner.server.services import open_services
from modelrunner.settings.loading import load
from modelrunner.telemetry.logs import Logs


async def test_what_nobody_finished_is_deleted_after_a_week(tmp_path: Path) -> None:
    """A blob that no model names stays for a while, because the next pull may want it, and goes then."""
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    settings = load({}, environ)
    blobs = settings.models_path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    old, young = (blobs / Digest.of(text).hex for text in (b"old", b"young"))
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (0, time.time() - 8 * 86400))
    logs = Logs(tmp_path / "logs", limit=1_000_000)
    try:
        async with open_services(settings, environ, logs):
            await asyncio.wait({task for task in asyncio.all_tasks() if task.get_name() == "tidy"})

            assert not old.exists()
            assert young.exists()
    finally:
        logs.close()

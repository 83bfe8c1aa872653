"""The runner's container: found, made, waited for, stopped, removed."""

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import docker
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import DeviceRequest

from modelrunner.containers import plan as planning
from modelrunner.containers.engine import facts, translated
from modelrunner.containers.plan import (
    ALIAS,
    CONTROLLER,
    HOME,
    MODELS_VOLUME,
    NETWORK,
    ROLE_LABEL,
    SERVICE_LABEL,
    STATE_VOLUME,
    Facts,
    Plan,
)
from modelrunner.errors import DockerFailed, NotReadyInTime

_READY_SECONDS = 30.0
_PAUSE = 0.1  # seconds between two looks
_STOP_SECONDS = 15
_LAST_LINES = 12
_UID = 1000  # of the user in the image
_UNBINDABLE = ("cannot assign requested address", "failed to bind", "failed to create endpoint")

# What a pull tells: the layer, what happens to it, how much of it is here and its size, in bytes.
OnProgress = Callable[[str, str, int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """The runner's container that is there."""

    id: str
    running: bool
    options: planning.Options
    image: str

    @property
    def short(self) -> str:
        """Its id as people see it."""
        return self.id[:12]


class Runners:
    """The runner of one Docker Engine. Everything here blocks, and raises DockerFailed or Conflict."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client

    def facts(self, *, local: bool) -> Facts:
        """Ask what the engine has; devices are looked for when it is on this machine."""
        return facts(self._client, local=local)

    def find(self) -> Found | None:
        """Find the container, by the labels that Docker's own tools give it too."""
        container = self._container()
        if container is None:
            return None
        options = planning.restored(container.labels.get(planning.OPTIONS_LABEL))
        running = container.status in {"running", "restarting"}
        return Found(str(container.id), running, options, str(container.attrs["Config"]["Image"]))

    def pull(self, image: str, on_progress: OnProgress) -> bool:
        """Fetch an image; False when that failed but there is one of that name.

        Raises:
            DockerFailed: there is none, here or there.
        """
        try:
            with translated():
                self._pull(image, on_progress)
        except DockerFailed as exc:
            if self.has_image(image):
                return False
            raise DockerFailed(
                f"there is no image `{image}`: {exc.message}",
                hint=f"build it from the project's folder, `docker build -t {image} .`, or name another one "
                "by MODEL_RUNNER_CONTROLLER_IMAGE",
            ) from exc
        return True

    def has_image(self, image: str) -> bool:
        """Whether an image of that name is here."""
        with translated():
            try:
                self._client.images.get(image)
            except ImageNotFound:
                return False
        return True

    def create(self, plan: Plan, credentials: bytes | None) -> tuple[Found, Plan]:
        """Make the container and start it; what it was made of in the end.

        `credentials` is a `config.json` that it gets. A gateway that cannot be listened on, as within another
        container, is done without.
        """
        with translated():
            try:
                self._create(plan, credentials)
            except ImageNotFound as exc:
                raise DockerFailed(
                    f"there is no image `{plan.image}` here", hint="`install-runner` fetches it"
                ) from exc
            except APIError as exc:
                self.remove()
                text = str(exc.explanation or exc).lower()
                if (
                    plan.gateway is None
                    or plan.gateway not in text
                    or not any(w in text for w in _UNBINDABLE)
                ):
                    raise
                plan = plan.without_gateway
                self._create(plan, credentials)
        found = self.find()
        assert found is not None
        return found, plan

    def wait(self, is_ready: Callable[[], bool], *, seconds: float = _READY_SECONDS) -> None:
        """Return once the runner answers.

        Raises:
            NotReadyInTime: it did not, or has ended; with its last words.
        """
        deadline = time.monotonic() + seconds
        while not is_ready():
            container = self._container()
            restarted = container is not None and container.attrs.get("RestartCount", 0) > 0
            if container is None or restarted or time.monotonic() > deadline:
                what = "ended at once" if restarted else "took too long to initialize"
                words = self._stop(container) if container is not None else ""
                raise NotReadyInTime(
                    f"standalone model runner {what}{words}",
                    hint=f"its whole log: `docker logs {planning.NAME}`",
                )
            time.sleep(_PAUSE)

    def copy_credentials(self, config: bytes) -> None:
        """Give the container a `config.json`, in place of the one that it has."""
        container = self._container()
        if container is not None:
            with translated():
                _put_config(container, config)

    def logs(self, *, follow: bool) -> Iterator[bytes]:
        """Yield what the container wrote."""
        container = self._container()
        if container is not None:
            with translated():
                # The library's type says bytes, which it returns without `stream` only.
                yield from cast("Iterator[bytes]", container.logs(stream=True, follow=follow))

    def remove(self) -> list[str]:
        """Stop and remove the container; the names of those that were removed. The network stays."""
        removed = []
        with translated():
            for container in self._containers():
                with contextlib.suppress(NotFound):
                    container.stop(timeout=_STOP_SECONDS)
                    container.remove(force=True)
                    removed.append(str(container.name))
        return removed

    def remove_models(self) -> list[str]:
        """Remove the volumes; the names of those that there were."""
        removed = []
        with translated():
            for name in (MODELS_VOLUME, STATE_VOLUME):
                with contextlib.suppress(NotFound):
                    self._client.volumes.get(name).remove(force=True)
                    removed.append(name)
        return removed

    def remove_network(self) -> None:
        """Remove the network, unless somebody is in it."""
        for network in self._client.networks.list(names=[NETWORK]):
            with contextlib.suppress(APIError):
                network.remove()

    def remove_images(self, repository: str) -> list[str]:
        """Remove every variant of the runner's image; the names of those that there were."""
        removed = []
        with translated():
            for image in self._client.images.list(name=repository):
                for tag in image.tags:
                    self._client.images.remove(tag, force=True)
                    removed.append(tag)
        return removed

    def _containers(self) -> list[Container]:
        labels = [SERVICE_LABEL, f"{ROLE_LABEL}={CONTROLLER}"]
        with translated():
            return self._client.containers.list(all=True, filters={"label": labels})

    def _container(self) -> Container | None:
        return next(iter(self._containers()), None)

    def _pull(self, image: str, on_progress: OnProgress) -> None:
        repository, _, tag = image.rpartition(":")
        for line in self._client.api.pull(repository, tag=tag, stream=True, decode=True):
            if "error" in line:
                raise DockerFailed(str(line["error"]))
            detail = line.get("progressDetail") or {}
            on_progress(
                str(line.get("id", "")),
                str(line.get("status", "")),
                int(detail.get("current", 0)),
                int(detail.get("total", 0)),
            )

    def _create(self, plan: Plan, credentials: bytes | None) -> None:
        arguments = dict(plan.arguments)
        if plan.all_gpus:
            arguments["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        container = self._client.containers.create(plan.image, **arguments)  # type: ignore[arg-type]  # as planned
        if credentials is not None:
            _put_config(container, credentials)
        for source, inside in plan.files.items():
            _put(container, inside, Path(source).read_bytes())
        if plan.joins_network:
            self._network().connect(container, aliases=[ALIAS])
        container.start()

    def _network(self) -> Network:
        """Find the network of those that want to reach the runner by its name, or make it."""
        for network in self._client.networks.list(names=[NETWORK]):
            if network.name == NETWORK:
                return network
        return self._client.networks.create(NETWORK, labels={SERVICE_LABEL: "model-runner"})

    def _stop(self, container: Container) -> str:
        """Stop what does not work, and keep it to be looked at; its last words."""
        with translated():
            container.stop(timeout=_STOP_SECONDS)
            text = container.logs(tail=_LAST_LINES).decode(errors="replace")
        return "".join(f"\n  {line}" for line in text.splitlines() if line.strip())


def _put_config(container: Container, config: bytes) -> None:
    """Write `config.json` into the home of the container's user."""
    _put(container, f"{HOME}/.docker/config.json", config)


def _put(container: Container, path: str, content: bytes) -> None:
    """Write a file that only the container's user may read, and the folder that it is in."""
    folder, _, name = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(last)
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, _UID, _UID
        archive.addfile(entry)
        entry = tarfile.TarInfo(f"{last}/{name}")
        entry.size, entry.mode, entry.uid, entry.gid = len(content), 0o600, _UID, _UID
        archive.addfile(entry, io.BytesIO(content))
    container.put_archive(above, buffer.getvalue())

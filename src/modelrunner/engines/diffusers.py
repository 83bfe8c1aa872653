"""Diffusers: which Python serves a model that makes images, and by which command line.

The server is ours, `standalone/images/server.py`; it runs in the engine's environment.
"""

from collections.abc import Sequence

from modelrunner.engines import diffusers_diagnosis, diffusers_memory
from modelrunner.engines.base import Address, EngineSettings, EngineStatus, Launch, Listens, Options
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import Device, Estimate
from modelrunner.engines.interpreter import places
from modelrunner.engines.python_package import APPLE, OFFLINE, Kind, PythonPackage
from modelrunner.engines.standalone import STANDALONE
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode

VERSION = "0.42.1"

_KIND = Kind(
    name="diffusers",
    display="Diffusers",
    distribution="diffusers",
    machines=(("Linux", ""), *APPLE),
    unfit="only supported on Linux and Apple Silicon",
    recipe=Recipe(
        "diffusers",
        VERSION,
        module="diffusers",
        lists=(LISTS / "diffusers.txt",),
        packages=("torch==2.13.0",),
    ),
)
_READY_WITHIN = 600.0  # seconds; the model is unpacked and read before it listens
_REMEMBERED = 16 << 10  # bytes; the cause comes last, after a long traceback
_UNNAMED = "model"


class Diffusers:
    """The engine plug-in for models in DDUF, which make images."""

    name = "diffusers"
    display = "Diffusers"
    formats = frozenset({Format.DDUF})
    modes = frozenset({Mode.IMAGE})
    native = frozenset({"openai"})
    listens = Listens.PORT

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        system: str | None = None,
        machine: str | None = None,
    ) -> None:
        """`system` and `machine`, as `platform` names them, are looked up when they are None."""
        settings = settings or EngineSettings()
        self._package = PythonPackage(_KIND, settings, system=system, machine=machine)
        folder = settings.environments
        self._scratch = folder / f"{self.name}-unpacked" if folder is not None else None

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing where it does not run, or when the user named a Python."""
        return self._package.environment

    def probe(self) -> EngineStatus:
        """Find a Python that has it."""
        return self._package.probe()

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:  # noqa: ARG002 - nothing is known of it
        """Refuse nothing: what can be served is said by the model's own files."""
        return None

    def slots(self, options: Options) -> int:  # noqa: ARG002 - whatever was configured
        """One image is made at a time."""
        return 1

    def launch(self, bundle: Bundle, mode: Mode, options: Options, address: Address) -> Launch:
        """Describe the server process.

        A model is unpacked beside the environments, not in the process's own folder, which may be memory.

        Raises:
            UnsupportedModel: a mode or files that it cannot serve.
            EngineNotInstalled: it is not here any more.
        """
        if mode not in self.modes:
            raise UnsupportedModel(
                f"diffusers backend only supports image-generation mode, got `{mode}`",
                hint="ask for images: `POST /v1/images/generations`",
            )
        if not bundle.weights or bundle.weights[0].suffix != ".dduf":
            raise UnsupportedModel("no DDUF file found in model bundle")
        python = self._package.python()
        served = options.name or _UNNAMED
        argv = (
            *(str(python), "-I", str(STANDALONE), "images.server", "--model-path", str(bundle.weights[0])),
            *("--host", address.host, "--port", str(address.port), "--served-model-name", served),
            *(("--scratch", str(self._scratch)) if self._scratch is not None else ()),
        )
        return Launch(
            argv=argv,
            env=OFFLINE,
            ready_within=_READY_WITHIN,
            reads=(STANDALONE, *places(python)),
            writes=(self._scratch,) if self._scratch is not None else (),
            remembered=_REMEMBERED,
            model_name=served,
        )

    def estimate(
        self,
        bundle: Bundle,
        mode: Mode,  # noqa: ARG002 - it has but one
        options: Options,  # noqa: ARG002 - nothing of them matters
        devices: Sequence[Device],
    ) -> Estimate | None:
        """Say what the server needs, for images of the usual sizes; blocks."""
        if not bundle.weights:
            return None
        return diffusers_memory.estimate(bundle.weights[0], devices)

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start, in a sentence; None for words unknown."""
        return diffusers_diagnosis.diagnose(tail)

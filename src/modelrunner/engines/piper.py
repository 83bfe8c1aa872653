"""Piper: which Python serves a voice that speaks, by which command line, in which memory.

The server is ours, `standalone/speech/piper.py`; it runs piper-tts in the engine's environment.
"""

from collections.abc import Sequence

from modelrunner.engines.base import Address, EngineSettings, EngineStatus, Launch, Options
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.interpreter import places
from modelrunner.engines.python_package import APPLE, OFFLINE, Kind, PythonPackage, last_exception
from modelrunner.engines.standalone import STANDALONE, listening
from modelrunner.errors import InvalidRequest, UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode

VERSION = "1.8.0"

_KIND = Kind(
    name="piper",
    display="Piper",
    distribution="piper-tts",
    machines=(("Linux", ""), *APPLE),
    unfit="only supported on Linux and Apple Silicon",
    recipe=Recipe("piper-tts", VERSION, module="piper", lists=(LISTS / "piper.txt",)),
)
# Measured with piper-tts 1.8.0 and onnxruntime 1.32.0.
_MIB = 1 << 20
_PROGRAM = 90 * _MIB  # the interpreter, the libraries, the threads
_SENTENCE = 260 * _MIB  # what is computed for a long one, and what is spoken of it


class Piper:
    """The engine plug-in for voices of Piper, which are models in ONNX."""

    name = "piper"
    display = "Piper"
    formats = frozenset({Format.ONNX})
    modes = frozenset({Mode.SPEECH})
    native = frozenset({"openai"})

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        system: str | None = None,
        machine: str | None = None,
    ) -> None:
        """`system` and `machine`, as `platform` names them, are looked up when they are None."""
        self._package = PythonPackage(_KIND, settings or EngineSettings(), system=system, machine=machine)

    @property
    def environment(self) -> Environment | None:
        """What the daemon installs; nothing where it does not run, or when the user named a Python."""
        return self._package.environment

    def probe(self) -> EngineStatus:
        """Find a Python that has it."""
        return self._package.probe()

    def refuse(self, config: ModelConfig, mode: Mode) -> str | None:  # noqa: ARG002 - one mode, for all models
        """Refuse a model in ONNX that is no voice."""
        if config.architecture in {"", "piper"}:
            return None
        return f"does not run models of the architecture `{config.architecture}`"

    def slots(self, options: Options) -> int:  # noqa: ARG002 - whatever was configured
        """One text is spoken at a time."""
        return 1

    def launch(
        self,
        bundle: Bundle,
        mode: Mode,
        options: Options,  # noqa: ARG002 - none changes the command line
        address: Address,
    ) -> Launch:
        """Describe the server process; nothing that is configured changes it.

        Raises:
            UnsupportedModel: a mode or files that it cannot serve.
            EngineNotInstalled: it is not here any more.
        """
        if mode not in self.modes:
            raise UnsupportedModel(
                f"Piper turns text into speech, and does no {mode}", hint="use `POST /v1/audio/speech`"
            )
        if not bundle.weights:
            raise UnsupportedModel("Piper needs a voice in ONNX, and the model has none")
        python = self._package.python()
        argv = (str(python), "-I", str(STANDALONE), "speech.piper")
        return Launch(
            argv=(*argv, "--model", str(bundle.weights[0]), *listening(address)),
            env=OFFLINE,
            reads=(STANDALONE, *places(python)),
        )

    def diagnose(self, tail: str) -> str | None:
        """Name the cause of a failed start: the last exception."""
        return last_exception(self.display, tail)

    def estimate(
        self,
        bundle: Bundle,
        mode: Mode,  # noqa: ARG002 - there is one
        options: Options,  # noqa: ARG002 - none changes it
        devices: Sequence[Device],  # noqa: ARG002 - it uses no other than the processor's memory
    ) -> Estimate | None:
        """Say what the server needs: the voice as it is in its file, and what it computes.

        Raises:
            InvalidRequest: the file cannot be read.
        """
        if not bundle.weights:
            return None
        try:
            size = bundle.weights[0].stat().st_size
        except OSError as exc:
            raise InvalidRequest(f"cannot read `{bundle.weights[0]}`: {exc.strerror or exc}") from exc
        return Estimate(device=RAM, context=0, weights=size, compute=_SENTENCE, overhead=_PROGRAM)

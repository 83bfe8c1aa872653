"""Whisper: which Python serves a model that turns speech into text, by which command line, in which memory.

The server is ours, `standalone/speech/whisper.py`; it runs faster-whisper in the engine's environment.
"""

from collections.abc import Sequence

from modelrunner.engines.base import Address, EngineSettings, EngineStatus, Launch, Options
from modelrunner.engines.environment import LISTS, Environment, Recipe
from modelrunner.engines.estimate import RAM, Device, Estimate
from modelrunner.engines.interpreter import places
from modelrunner.engines.python_package import APPLE, OFFLINE, Kind, PythonPackage, last_exception
from modelrunner.engines.standalone import STANDALONE, listening
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode
from modelrunner.models.weights.ctranslate2 import CTranslate2Header, read_header

VERSION = "1.2.1"

_KIND = Kind(
    name="whisper",
    display="Whisper",
    distribution="faster-whisper",
    machines=(("Linux", ""), *APPLE),
    unfit="only supported on Linux and Apple Silicon",
    recipe=Recipe("faster-whisper", VERSION, module="faster_whisper", lists=(LISTS / "whisper.txt",)),
)
# Measured with faster-whisper 1.2.1 and CTranslate2 4.8.5, on a processor, in 8 bits.
_MIB = 1 << 20
_PROGRAM = 120 * _MIB  # the interpreter, the libraries, the threads
_WINDOW = 240 * _MIB  # two minutes of sound, and what is computed from them before the model hears
_SOUND, _TEXT, _BEAMS = 1500, 448, 5  # positions that are heard and written at a time, and how many texts
_FLOAT = 4  # bytes


class Whisper:
    """The engine plug-in for Whisper models in the form of CTranslate2."""

    name = "whisper"
    display = "Whisper"
    formats = frozenset({Format.CTRANSLATE2})
    modes = frozenset({Mode.TRANSCRIPTION})
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
        """Refuse what CTranslate2 runs and Whisper is not."""
        if config.architecture in {"", "whisper"}:
            return None
        return f"does not run models of the architecture `{config.architecture}`"

    def slots(self, options: Options) -> int:  # noqa: ARG002 - whatever was configured
        """One is listened to at a time."""
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
                f"Whisper turns speech into text, and does no {mode}",
                hint="use `POST /v1/audio/transcriptions`",
            )
        if not bundle.weights:
            raise UnsupportedModel("Whisper needs a `model.bin` of CTranslate2, and the model has none")
        python = self._package.python()
        argv = (str(python), "-I", str(STANDALONE), "speech.whisper")
        return Launch(
            argv=(*argv, "--model", str(bundle.weights[0].parent), *listening(address)),
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
        """Say what the server needs; reads the head of each variable in the model's file, and blocks.

        Raises:
            UnsupportedModel, InvalidRequest: the file is none, or cannot be read.
        """
        return needed(read_header(bundle.weights[0])) if bundle.weights else None


def needed(header: CTranslate2Header) -> Estimate:
    """Say what a model needs, whose numbers are in 8 bits in memory, whatever they are in the file.

    The file is in memory beside them while it is read, and what is heard only afterwards: the larger counts.
    """
    layers = {name.split("/")[1] for name in header.shapes if name.startswith("decoder/layer_")}
    width = header.shapes.get("decoder/embeddings/weight", (0, 0))[-1]
    cache = 2 * len(layers) * width * _FLOAT * (_SOUND + _TEXT * _BEAMS)
    return Estimate(
        device=RAM,
        context=0,
        weights=header.parameters,
        cache=cache,
        compute=max(_WINDOW, header.file_bytes - cache),
        overhead=_PROGRAM,
    )

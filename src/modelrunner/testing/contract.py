"""The tests that every engine plug-in must pass: subclass `EngineContract`, and name the class `Test…`.

    class TestMyEngine(EngineContract):
        def make(self) -> Engine:
            return MyEngine(EngineSettings())

Plain asserts only, so that a plug-in may use any runner of tests.
"""

import time
from pathlib import Path

from modelrunner.engines.base import (
    Address,
    Engine,
    EngineStatus,
    Launch,
    Listens,
    Options,
    Parallel,
    listens_on,
)
from modelrunner.errors import UnsupportedModel
from modelrunner.models.bundles.bundle import Bundle
from modelrunner.models.description.config import ModelConfig
from modelrunner.models.description.kinds import Format, Mode

_SOCKET = Address(socket=Path("/run/contract/engine.sock"))
_TCP = Address(host="127.0.0.1", port=31_234)
_PROBE_LIMIT = 15.0  # seconds


class EngineContract:
    """What the daemon relies on. Override `make`; the rest, only where the engine needs another example."""

    def make(self) -> Engine:
        """Make the engine, as its entry point does."""
        raise AssertionError("override `make`")

    def bundle(self, engine: Engine) -> Bundle:
        """A model that the engine runs; its files need not exist."""
        form = min(engine.formats)
        root = Path("/models/contract")
        weights = root / f"model/model.{form}"
        return Bundle(root=root, config=ModelConfig(format=form), weights=(weights,))

    def address(self, engine: Engine) -> Address:
        """Where the engine is to listen: a Unix socket, unless the engine only knows ports."""
        return _SOCKET if listens_on(engine) is Listens.SOCKET else _TCP

    def _launch(self, engine: Engine, mode: Mode, options: Options | None = None) -> Launch:
        return engine.launch(self.bundle(engine), mode, options or Options(), self.address(engine))

    def test_the_name_fits_urls_and_paths(self) -> None:
        """Lower case, with no character that a URL or a path would have to escape."""
        name = self.make().name

        assert name == name.lower()
        assert name.replace(".", "").replace("-", "").replace("_", "").isalnum()
        assert name.isascii()

    def test_it_declares_what_it_serves(self) -> None:
        """At least one format and one mode, from the closed sets."""
        engine = self.make()

        assert engine.formats
        assert engine.formats <= set(Format)
        assert engine.modes
        assert engine.modes <= set(Mode)
        assert engine.display

    def test_a_probe_answers_in_time_and_does_not_raise(self) -> None:
        """It says how the engine is, twice the same."""
        engine = self.make()
        began = time.monotonic()

        first = engine.probe()

        assert time.monotonic() - began < _PROBE_LIMIT
        assert isinstance(first, EngineStatus)
        assert first == engine.probe()

    def test_a_status_that_is_not_usable_says_why(self) -> None:
        """Whoever cannot use the engine can read the reason."""
        status = self.make().probe()

        assert status.usable or status.detail

    def test_each_mode_has_a_command_line(self) -> None:
        """A command line is made of texts, names the weights, and says where to listen."""
        engine = self.make()
        for mode in engine.modes:
            launch = self._launch(engine, mode)
            line = "\0".join(launch.argv)
            bundle, address = self.bundle(engine), self.address(engine)
            where = str(address.socket) if address.socket else str(address.port)

            assert not any("\0" in argument for argument in launch.argv)
            assert str(bundle.weights[0]) in line or str(bundle.weights[0].parent) in line
            assert where in line
            assert launch.health.startswith("/")
            assert launch.ready_within > 0

    def test_a_port_is_passed_on(self) -> None:
        """An engine that is told a port listens there."""
        engine = self.make()
        mode = min(engine.modes)

        launch = engine.launch(self.bundle(engine), mode, Options(), _TCP)

        assert any(str(_TCP.port) in argument for argument in launch.argv)

    def test_the_same_question_has_the_same_answer(self) -> None:
        """A launch is pure: it keeps nothing and touches nothing."""
        engine = self.make()
        for mode in engine.modes:
            assert self._launch(engine, mode) == self._launch(engine, mode)

    def test_flags_are_passed_on(self) -> None:
        """Flags were checked when they came in; an engine that takes none says so before."""
        engine = self.make()
        mode = min(engine.modes)

        launch = self._launch(engine, mode, Options(flags=("--seed", "7")))

        assert "--seed" not in launch.argv or launch.argv[launch.argv.index("--seed") + 1] == "7"

    def test_it_serves_at_least_one_request_at_once(self) -> None:
        """An engine that says how many never says none."""
        engine = self.make()

        assert not isinstance(engine, Parallel) or engine.slots(Options()) >= 1

    def test_modes_that_it_does_not_serve_are_refused(self) -> None:
        """By the error that a user can be told."""
        engine = self.make()
        for mode in set(Mode) - engine.modes:
            try:
                self._launch(engine, mode)
            except UnsupportedModel as exc:
                assert exc.message  # noqa: PT017 - no pytest here
            else:
                raise AssertionError(f"{engine.name} made a command line for {mode}")

    def test_a_model_without_weights_is_refused(self) -> None:
        """By the error that a user can be told."""
        engine = self.make()
        empty = Bundle(root=Path("/models/contract"), config=ModelConfig(), weights=())
        try:
            engine.launch(empty, min(engine.modes), Options(), self.address(engine))
        except UnsupportedModel as exc:
            assert exc.message  # noqa: PT017 - no pytest here
        else:
            raise AssertionError(f"{engine.name} made a command line for no weights")

    def test_a_model_of_its_format_is_not_refused(self) -> None:
        """An engine refuses for reasons, and a plain model gives it none in at least one mode."""
        engine = self.make()
        config = self.bundle(engine).config

        assert any(engine.refuse(config, mode) is None for mode in engine.modes)

    def test_words_that_say_nothing_are_not_diagnosed(self) -> None:
        """No diagnosis is better than a wrong one."""
        engine = self.make()

        assert engine.diagnose("") is None
        assert engine.diagnose("hello\nworld\n") is None

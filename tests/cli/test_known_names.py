"""Names that the command line knows by heart: they are all there are, though it imports nothing for it."""

from importlib.metadata import entry_points

from modelrunner.cli import complete
from modelrunner.cli.commands import configure
from modelrunner.models.description.kinds import Mode


def test_every_mode_can_be_configured() -> None:
    """In the order in which a model's own is looked for."""
    assert list(Mode) == list(configure._MODES)


def test_every_engine_is_completed() -> None:
    """Those of this package; a plug-in's name is typed."""
    known = {point.name for point in entry_points(group="modelrunner.engines")}

    assert known == set(complete._backends(None))  # type: ignore[arg-type]  # who is not asked anything

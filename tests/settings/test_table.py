"""The table of settings."""

from modelrunner.settings.table import CLIENT, DAEMON, TABLE, Settings


def test_every_field_is_a_row() -> None:
    """A setting without a row would be one that nobody can set."""
    assert list(Settings._fields) == list(TABLE)
    assert list(TABLE) == [*DAEMON, *CLIENT]


def test_no_two_settings_have_the_same_variable() -> None:
    """What somebody sets means one thing."""
    variables = [setting.environment for setting in TABLE.values()]

    assert sorted(set(variables)) == sorted(variables)

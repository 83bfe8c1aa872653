"""Where things are on each platform."""

import pytest

from modelrunner.settings import folders

HOME = {"HOME": "/home/ada"}


@pytest.mark.parametrize(
    ("platform", "environ", "state", "logs", "history"),
    [
        (
            "linux",
            HOME,
            "/home/ada/.local/state/modelrunner",
            "/home/ada/.local/state/modelrunner/logs",
            "/home/ada/.docker/model/history",
        ),
        (
            "linux",
            {**HOME, "XDG_STATE_HOME": "/state"},
            "/state/modelrunner",
            "/state/modelrunner/logs",
            "/home/ada/.docker/model/history",
        ),
        (
            "darwin",
            {"HOME": "/Users/ada"},
            "/Users/ada/Library/Application Support/modelrunner",
            "/Users/ada/Library/Logs/modelrunner",
            "/Users/ada/.docker/model/history",
        ),
        (
            "win32",
            {"USERPROFILE": r"C:\Users\ada", "LOCALAPPDATA": r"C:\Users\ada\AppData\Local"},
            r"C:\Users\ada\AppData\Local\modelrunner",
            r"C:\Users\ada\AppData\Local\modelrunner\logs",
            r"C:\Users\ada\.docker\model\history",
        ),
        (
            "win32",
            {"USERPROFILE": r"C:\Users\ada"},
            r"C:\Users\ada\AppData\Local\modelrunner",
            r"C:\Users\ada\AppData\Local\modelrunner\logs",
            r"C:\Users\ada\.docker\model\history",
        ),
    ],
)
def test_each_platform_has_its_places(
    platform: str, environ: dict[str, str], state: str, logs: str, history: str
) -> None:
    """Where state, logs and history live follows from the platform and the environment alone."""
    assert state == str(folders.state_dir(platform, environ))
    assert logs == str(folders.log_dir(platform, environ))
    assert history == str(folders.history_file(platform, environ))


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"HOME": "/home/ada"}, "/home/ada/.local/share/modelrunner/engines"),
        ("linux", {"HOME": "/home/ada", "XDG_DATA_HOME": "/data"}, "/data/modelrunner/engines"),
        (
            "linux",
            {"HOME": "/home/ada", "XDG_DATA_HOME": "data"},
            "/home/ada/.local/share/modelrunner/engines",
        ),
        ("darwin", {"HOME": "/Users/ada"}, "/Users/ada/Library/Application Support/modelrunner/engines"),
    ],
)
def test_engines_are_installed_where_data_is_kept(
    platform: str, environ: dict[str, str], expected: str
) -> None:
    """They are large, and can be had again, but are no cache that may vanish under a running model."""
    assert str(folders.engines_dir(platform, environ)) == expected

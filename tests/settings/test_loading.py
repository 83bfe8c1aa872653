"""Settings as they are read: precedence, and what each value may be."""

from pathlib import Path

import pytest

from modelrunner.errors import InvalidRequest
from modelrunner.settings.loading import load

HOME = {"HOME": "/home/ada"}


def test_without_anything_the_defaults_hold() -> None:
    """A fresh machine listens on loopback and shares the reference's store."""
    loaded = load({}, HOME)

    assert ("127.0.0.1", 12434, None) == (loaded.host, loaded.port, loaded.socket)
    assert Path("/home/ada/.docker/models") == loaded.models_path
    assert 300.0 == loaded.keep_alive
    assert loaded.autostart


def test_a_flag_wins_over_the_environment() -> None:
    """`--models-path` beats MODELS_PATH, which beats the default."""
    environ = {**HOME, "MODELS_PATH": "/from/environment"}

    assert Path("/from/environment") == load({}, environ).models_path
    assert Path("/flag") == load({"models_path": "/flag"}, environ).models_path


@pytest.mark.parametrize(
    ("flags", "environ", "port", "socket"),
    [
        ({}, {}, 12434, None),
        ({"port": "9999"}, {}, 9999, None),
        ({"port": "0"}, {}, 0, None),
        ({"port": "9999"}, {"MODEL_RUNNER_SOCK": "/x.sock"}, 9999, None),
        ({"socket": "/x.sock"}, {"MODEL_RUNNER_PORT": "9999"}, None, "/x.sock"),
        ({}, {"MODEL_RUNNER_SOCK": "/x.sock"}, None, "/x.sock"),
        ({}, {"MODEL_RUNNER_PORT": "9999", "MODEL_RUNNER_SOCK": "/x.sock"}, 9999, None),
    ],
)
def test_port_and_socket_exclude_each_other(
    flags: dict[str, str], environ: dict[str, str], port: int | None, socket: str | None
) -> None:
    """A flag wins over a variable of the other kind; of two variables the port wins."""
    loaded = load(flags, HOME | environ)

    assert (port, None if socket is None else Path(socket)) == (loaded.port, loaded.socket)


def test_both_flags_at_once_are_refused() -> None:
    """`--port` and `--socket` together are an error."""
    with pytest.raises(InvalidRequest, match="both --port and --socket"):
        load({"port": "1", "socket": "/x"}, HOME)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MODEL_RUNNER_PORT", "abc"),
        ("MODEL_RUNNER_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("DMR_KEEP_ALIVE", "5"),
        ("DMR_PLACES", "0"),
        ("DMR_BODY_LIMIT", "much"),
        ("DMR_DRAIN", "-1s"),
        ("INSECURE_REGISTRY", "yes"),
        ("LLAMA_ARGS", '--prompt "open'),
        ("MODEL_RUNNER_HOST", "http://"),
    ],
)
def test_a_value_that_cannot_be_read_is_named(variable: str, text: str) -> None:
    """The message has the variable and its value, the hint what was expected."""
    with pytest.raises(InvalidRequest) as caught:
        load({}, {**HOME, variable: text})

    assert f"invalid value for {variable}: `{text}`" == caught.value.message
    assert (caught.value.hint or "").startswith("expected ")


@pytest.mark.parametrize(
    ("name", "variable", "text", "expected"),
    [
        ("keep_alive", "DMR_KEEP_ALIVE", "-1", None),
        ("keep_alive", "DMR_KEEP_ALIVE", "0", 0.0),
        ("keep_alive", "DMR_KEEP_ALIVE", "1h30m", 5400.0),
        ("log_level", "LOG_LEVEL", "WARN", "warning"),
        (
            "origins",
            "DMR_ORIGINS",
            "http://a.example, https://b.example:*",
            ("http://a.example", "https://b.example:*"),
        ),
        ("default_registry", "DEFAULT_REGISTRY", "index.docker.io", "docker.io"),
        ("insecure_registry", "INSECURE_REGISTRY", " 'true' ", True),
        ("body_limit", "DMR_BODY_LIMIT", "1KiB", 1024),
        (
            "llama_args",
            "LLAMA_ARGS",
            '--prompt "Hello, world!" --threads 4',
            ("--prompt", "Hello, world!", "--threads", "4"),
        ),
        ("llama_args", "LLAMA_ARGS", '--threads 4 --prompt "a b"', ("--threads", "4", "--prompt", "a b")),
        ("model_runner_host", "MODEL_RUNNER_HOST", "box:12434", "http://box:12434"),
        ("no_history", "DOCKER_MODEL_NOHISTORY", "0", True),
        ("autostart", "DMR_AUTOSTART", "false", False),
    ],
)
def test_values_are_read_as_they_are_meant(name: str, variable: str, text: str, expected: object) -> None:
    """Each kind of value, in the spellings that people and files of variables use."""
    assert expected == getattr(load({}, {**HOME, variable: text}), name)


def test_a_cloud_machine_with_a_gpu_keeps_models_for_long() -> None:
    """There the default is eight hours, unless a duration is given."""
    cloud = {**HOME, "MODEL_RUNNER_ENVIRONMENT": "cloud", "NVIDIA_VISIBLE_DEVICES": "all"}

    assert 8 * 3600.0 == load({}, cloud).keep_alive
    assert 60.0 == load({}, {**cloud, "DMR_KEEP_ALIVE": "1m"}).keep_alive


def test_the_printed_form_holds_no_secret() -> None:
    """A token does not get into a log by way of `repr`."""
    assert "s3cret" not in repr(load({}, {**HOME, "HF_TOKEN": "s3cret"}))


def test_the_sandbox_is_one_of_three_words() -> None:
    """As much as the system can do, unless somebody says otherwise."""
    assert "auto" == load({}, {"HOME": "/home/u"}).sandbox
    assert "require" == load({}, {"HOME": "/home/u", "DMR_SANDBOX": "REQUIRE"}).sandbox

    with pytest.raises(InvalidRequest, match="invalid value for DMR_SANDBOX: `none`") as caught:
        load({}, {"HOME": "/home/u", "DMR_SANDBOX": "none"})
    assert "`require`" in (caught.value.hint or "")

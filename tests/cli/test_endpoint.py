"""Where the daemon is, from the settings."""

from pathlib import Path

import pytest

from modelrunner.cli import contexts, installed
from modelrunner.cli.docker_host import DockerHost
from modelrunner.cli.endpoint import find
from modelrunner.errors import InvalidRequest
from modelrunner.settings.loading import load


@pytest.mark.parametrize(
    ("environ", "url", "may_start"),
    [
        ({}, "http://127.0.0.1:12434", True),
        ({"MODEL_RUNNER_PORT": "9999"}, "http://127.0.0.1:9999", True),
        ({"MODEL_RUNNER_SOCK": "/run/x.sock"}, "unix:///run/x.sock", True),
        ({"DMR_BIND": "0.0.0.0"}, "http://127.0.0.1:12434", True),
        ({"DMR_BIND": "::1"}, "http://[::1]:12434", True),
        ({"DMR_AUTOSTART": "0"}, "http://127.0.0.1:12434", False),
        ({"MODEL_RUNNER_NO_AUTO_INSTALL": "1"}, "http://127.0.0.1:12434", False),
        ({"MODEL_RUNNER_HOST": "http://gpu.lan:1234/"}, "http://gpu.lan:1234", False),
        ({"MODEL_RUNNER_HOST": "gpu.lan:1234"}, "http://gpu.lan:1234", False),
        ({"MODEL_RUNNER_HOST": "http://gpu.lan"}, "http://gpu.lan:80", False),
        ({"MODEL_RUNNER_HOST": "https://gpu.lan"}, "https://gpu.lan:443", False),
        ({"MODEL_RUNNER_HOST": "http://localhost/exp/vDD4.40"}, "http://localhost:80/exp/vDD4.40", False),
        ({"MODEL_RUNNER_HOST": "unix:///run/y.sock"}, "unix:///run/y.sock", False),
    ],
)
def test_the_address_follows_the_environment(environ: dict[str, str], url: str, *, may_start: bool) -> None:
    """A host that was named is used and never started; otherwise it is this machine's own daemon."""
    endpoint = find(load({}, {"HOME": "/h", **environ}))

    assert (url, may_start) == (endpoint.address.url, endpoint.may_start)


@pytest.mark.parametrize(
    ("environ", "container", "host"),
    [
        ({}, "http://host.docker.internal:12434/v1/", "http://127.0.0.1:12434/v1/"),
        (
            {"MODEL_RUNNER_HOST": "http://localhost:1"},
            "http://host.docker.internal:1/v1/",
            "http://localhost:1/v1/",
        ),
        ({"MODEL_RUNNER_HOST": "http://10.0.0.1:1"}, "http://10.0.0.1:1/v1/", "http://10.0.0.1:1/v1/"),
    ],
)
def test_containers_are_not_sent_to_their_own_loopback(
    environ: dict[str, str], container: str, host: str
) -> None:
    """The OpenAI base ends with a slash, because applications append to it."""
    endpoint = find(load({}, {"HOME": "/h", **environ}))

    assert (container, host) == (endpoint.container_url, endpoint.host_url)


@pytest.mark.parametrize(
    "environ",
    [
        {"MODEL_RUNNER_HOST": "ftp://x"},
        {"MODEL_RUNNER_HOST": "http://x:notaport"},
        {"MODEL_RUNNER_HOST": "http://x:1", "MODEL_RUNNER_TLS": "true"},
    ],
)
def test_an_unusable_host_is_refused(environ: dict[str, str]) -> None:
    """The message names the variable or the contradiction."""
    with pytest.raises(InvalidRequest, match=r"MODEL_RUNNER_HOST|plain HTTP"):
        find(load({}, {"HOME": "/h", **environ}))


def test_tls_settings_reach_the_address() -> None:
    """The authority and the wish to skip verification are kept for the connection."""
    environ = {
        "HOME": "/h",
        "MODEL_RUNNER_HOST": "https://x",
        "MODEL_RUNNER_TLS_CA_CERT": "/ca.pem",
        "MODEL_RUNNER_TLS_SKIP_VERIFY": "true",
    }

    assert find(load({}, environ)).address.tls == ("/ca.pem", False)


def _context(folder: Path, host: str, *, tls: bool = False, ca_cert: str = "") -> None:
    contexts.create(contexts.path_in(folder), "lab", contexts.Context(host, tls=tls, ca_cert=ca_cert))
    contexts.use(contexts.path_in(folder), "lab")


LOCAL = DockerHost("unix:///var/run/docker.sock")


def test_the_active_context_is_used_and_never_started(tmp_path: Path) -> None:
    """By `dmr` as by `docker model`; when nobody answers there, the way out is told."""
    _context(tmp_path, "http://gpu.lan:1234")

    for docker in (None, LOCAL):
        endpoint = find(load({}, {"HOME": "/h"}), tmp_path, docker, elsewhere=docker is not None)
        assert (endpoint.address.url, endpoint.may_start) == ("http://gpu.lan:1234", False)
        assert "context use default" in (endpoint.hint or "")


def test_the_host_variable_goes_before_a_context_even_a_broken_one(tmp_path: Path) -> None:
    """What is not needed is not read."""
    contexts.path_in(tmp_path).parent.mkdir()
    contexts.path_in(tmp_path).write_text("{")

    endpoint = find(load({}, {"HOME": "/h", "MODEL_RUNNER_HOST": "http://x:1"}), tmp_path)

    assert endpoint.address.url == "http://x:1"


def test_the_environment_s_tls_goes_before_the_context_s(tmp_path: Path) -> None:
    """Field by field."""
    _context(tmp_path, "https://gpu.lan", tls=True, ca_cert="/context.pem")

    of_context = find(load({}, {"HOME": "/h"}), tmp_path)
    both = find(load({}, {"HOME": "/h", "MODEL_RUNNER_TLS_SKIP_VERIFY": "1"}), tmp_path)

    assert of_context.address.tls == ("/context.pem", True)
    assert both.address.tls == ("/context.pem", False)


def test_a_runner_in_a_container_is_found_at_its_own_port(tmp_path: Path) -> None:
    """Whatever `install-runner --port` was; containers reach it by the gateway of their network."""
    runner = installed.Installed("127.0.0.1", 23456, gateway="172.17.0.1")
    installed.write(installed.path_in(tmp_path), LOCAL.url, runner)

    endpoint = find(load({}, {"HOME": "/h"}), tmp_path, LOCAL)
    other = find(load({}, {"HOME": "/h"}), tmp_path, DockerHost("unix:///other.sock"))

    assert endpoint.kind == "Docker Engine"
    assert endpoint.host_url == "http://127.0.0.1:23456/v1/"
    assert endpoint.container_url == "http://172.17.0.1:23456/v1/"
    assert other.address.port == 12434


def test_another_machine_s_engine_leads_to_that_machine(tmp_path: Path) -> None:
    """For `docker model`; `dmr` is on this one."""
    docker = DockerHost("tcp://gpu.lan:2376")

    plugin = find(load({}, {"HOME": "/h"}), tmp_path, docker, elsewhere=True)

    assert (plugin.address.url, plugin.may_start) == ("http://gpu.lan:12434", False)
    assert "--host 0.0.0.0" in (plugin.hint or "")
    assert find(load({}, {"HOME": "/h"}), tmp_path, docker).address.url == "http://127.0.0.1:12434"


def test_docker_s_flags_go_before_a_context_that_was_chosen_earlier(tmp_path: Path) -> None:
    """Who types `docker -H tcp://gpu model ...` means that machine."""
    _context(tmp_path, "http://lab:1")
    docker = DockerHost("tcp://gpu.lan:2376", typed=True)

    endpoint = find(load({}, {"HOME": "/h"}), tmp_path, docker, elsewhere=True)

    assert endpoint.address.host == "gpu.lan"


def test_an_engine_behind_ssh_is_refused_with_the_way_there(tmp_path: Path) -> None:
    """Its runner's port is not reachable by what docker speaks over SSH."""
    with pytest.raises(InvalidRequest) as caught:
        find(load({}, {"HOME": "/h"}), tmp_path, DockerHost("ssh://me@gpu.lan"), elsewhere=True)

    assert "ssh -N -L 12434:127.0.0.1:12434 me@gpu.lan" in (caught.value.hint or "")

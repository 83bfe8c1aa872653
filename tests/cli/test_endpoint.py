"""Where the daemon is, from the settings."""

import pytest

from modelrunner.cli.endpoint import find
from modelrunner.errors import InvalidRequest
from modelrunner.settings import load


@pytest.mark.parametrize(
    ("environ", "url", "may_start"),
    [
        ({}, "http://127.0.0.1:12434", True),
        ({"MODEL_RUNNER_PORT": "9999"}, "http://127.0.0.1:9999", True),
        ({"MODEL_RUNNER_SOCK": "/run/x.sock"}, "unix:///run/x.sock", True),
        ({"DMR_BIND": "0.0.0.0"}, "http://127.0.0.1:12434", True),
        ({"DMR_BIND": "::1"}, "http://[::1]:12434", True),
        ({"DMR_AUTOSTART": "0"}, "http://127.0.0.1:12434", False),
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

"""The daemon's port for TLS, beside the plain one."""

import re
from pathlib import Path

import pytest

from modelrunner.testing.daemon import Runner, running
from modelrunner.testing.tls import Authority, make_authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody knows."""
    return make_authority(tmp_path_factory.mktemp("authority"))


def test_commands_go_through_tls(tmp_path: Path, authority: Authority) -> None:
    """With the authority that they are told to trust, and not without; the plain port goes on."""
    certificate, key = authority.issue("daemon", "127.0.0.1")
    extra = {
        "MODEL_RUNNER_TLS_ENABLED": "true",
        "MODEL_RUNNER_TLS_PORT": "0",
        "MODEL_RUNNER_TLS_CERT": str(certificate),
        "MODEL_RUNNER_TLS_KEY": str(key),
    }
    with running(tmp_path, **extra) as daemon:
        log = daemon.must("logs", "--no-engines")
        found = re.search(r"listening url=(https://127\.0\.0\.1:\d+)", log)
        assert found is not None, log
        secure = Runner(tmp_path, url=found[1])
        trusting = Runner(tmp_path, {"MODEL_RUNNER_TLS_CA_CERT": str(authority.certificate)}, url=found[1])

        plain, refused, trusted = (runner.run("list", "-q") for runner in (daemon, secure, trusting))

    assert (plain.code, trusted.code, trusted.err) == (0, 0, "")
    assert refused.code != 0
    assert "certificate verify failed" in refused.err


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("", "", "TLS is enabled without a certificate or its key"),
        ("/no/cert.pem", "/no/key.pem", "cannot be used: No such file or directory"),
        ("daemon.cert", "other.key", "cannot be used"),
    ],
)
def test_what_cannot_be_served_is_said_at_the_start(
    tmp_path: Path, authority: Authority, certificate: str, key: str, message: str
) -> None:
    """One sentence, and no daemon."""
    authority.issue("daemon", "127.0.0.1")
    authority.issue("other", "127.0.0.1")
    files = [str(authority.folder / name) if name else "" for name in (certificate, key)]
    extra = {"MODEL_RUNNER_TLS_ENABLED": "true", "MODEL_RUNNER_TLS_PORT": "0"}
    extra |= dict(zip(("MODEL_RUNNER_TLS_CERT", "MODEL_RUNNER_TLS_KEY"), files, strict=True))

    outcome = Runner(tmp_path, extra).run("serve", "--port", "0")

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err

"""What a container is told of the user's logins."""

import base64
import json
from pathlib import Path

from modelrunner.cli.container_credentials import config_for


def test_logins_are_written_out_and_helpers_asked(tmp_path: Path) -> None:
    """In a container there is no helper, so their answers go along; what nobody knows is left out."""
    helper = tmp_path / "docker-credential-safe"
    helper.write_text('#!/bin/sh\necho \'{"Username": "me", "Secret": "hidden"}\'\n')
    helper.chmod(0o755)
    plain = base64.b64encode(b"you:open").decode()
    config = {
        "auths": {"plain.io": {"auth": plain}, "nobody.io": {}},
        "credHelpers": {"safe.io": "safe"},
        "currentContext": "x",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    document = json.loads(config_for(tmp_path, {"PATH": f"{tmp_path}:/bin"}) or b"")

    safe = base64.b64encode(b"me:hidden").decode()
    assert document == {"auths": {"plain.io": {"auth": plain}, "safe.io": {"auth": safe}}}


def test_who_has_logged_in_nowhere_hands_nothing_over(tmp_path: Path) -> None:
    """Not even an empty file."""
    assert config_for(tmp_path, {}) is None

"""Who the user is at registries, written out for a container, in which no credential helper is."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from modelrunner.cli import json_file
from modelrunner.cli.docker_engine import opened
from modelrunner.cli.output import clean, note
from modelrunner.cli.session import Session
from modelrunner.errors import RunnerError


def hand_over(session: Session) -> None:
    """Give the runner's container today's logins before it asks a registry; other runners have their own.

    What goes wrong is told and no more: the registry may ask for none.
    """
    from modelrunner.cli.endpoint import CONTAINER_KIND

    if session.endpoint.kind != CONTAINER_KIND:
        return
    try:
        config = config_for(session.docker_config, session.environ)
        if config is not None:
            with opened(session) as runners:
                runners.copy_credentials(config)
    except RunnerError as exc:
        note(f"Warning: the runner's container has the logins of when it was made: {clean(exc.message)}")


def config_for(folder: Path, environ: Mapping[str, str]) -> bytes | None:
    """Make a `config.json` of all that is known of the registries that the user has logged in to.

    Helpers are asked here, where they are. None when the user has logged in nowhere.
    """
    from modelrunner.oci.credentials import Credentials

    known = Credentials(environ, folder)
    auths = {}
    for server in _servers(folder):
        found = known.lookup(server)
        if found is None:
            continue
        if found.is_final:
            auths[server] = {"registrytoken": found.secret}
        elif found.is_identity_token:
            auths[server] = {"identitytoken": found.secret}
        else:
            pair = base64.b64encode(f"{found.username}:{found.secret}".encode()).decode()
            auths[server] = {"auth": pair}
    return json.dumps({"auths": auths}).encode() if auths else None


def _servers(folder: Path) -> list[str]:
    config = json_file.read(folder / "config.json")
    tables = (config.get("auths"), config.get("credHelpers"))
    return sorted({server for table in tables if isinstance(table, dict) for server in table})

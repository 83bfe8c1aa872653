"""Whatever is sent to a described route: no 500, and no status that its description lacks."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

# They leave the machine, or change what the next case needs.
_ELSEWHERE = {
    "/models/create",
    "/models/{name}/push",
    "/api/pull",
    "/api/push",
    "/engines/install-backend",
    "/engines/uninstall-backend",
    "/models/purge",
}
_ENDLESS = ("follow", "stream", "remote")


def _checked(url: str) -> int:
    """Send a few cases to every route; returns how many routes that were."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = 0
    with requests.Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            # Behind a prefix are the same routes again.
            behind = operation.path.startswith("/engines/{engine}") or operation.path.startswith(
                "/engines/v1"
            )
            if operation.path in _ELSEWHERE or behind:
                continue
            tried += 1
            documented = {int(status) for status in operation.definition.raw["responses"]}

            _ask(operation, documented, session, url)
    return tried


def _ask(
    operation: "APIOperation[Any, Any, Any, Any]", documented: set[int], session: requests.Session, url: str
) -> None:
    """Send cases to one route."""

    @settings(
        max_examples=8,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: "schemathesis.Case[Any]") -> None:
        for name in _ENDLESS:
            case.query.pop(name, None)
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "ai/tiny"  # a made-up name would end every case before its engine
        reply = case.call(session=session, base_url=url, timeout=10)

        assert reply.status_code != 500, case.as_curl_command()
        assert reply.status_code in documented, (reply.status_code, case.as_curl_command())

    ask()


@pytest.mark.timeout(90)
async def test_no_route_fails_or_says_what_is_not_described(tiny: "Daemon") -> None:
    """Cases are made from the description, and are the same in every run."""
    assert await asyncio.to_thread(_checked, tiny.url) > 50

"""Whatever is sent to a described route: no 500, and no status that its description lacks."""

import asyncio
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from modelrunner.dialects.fields_table import ENDPOINTS
from modelrunner.testing.registry import FakeRegistry
from modelrunner.testing.serving import serving

if TYPE_CHECKING:
    from tests.server.conftest import Make

# They leave the machine.
_ELSEWHERE = {"/transfers", "/search"}
# Behind these are the same routes again.
_AGAIN = re.compile(
    r"/engines/(\{engine\}|v1|rerank|score|tokenize|detokenize|responses)|/(rerank|score|tokenize|detokenize|responses)"
    r"|/anthropic/v1/messages"
)
_NAMES = frozenset({"model", "name", "from", "source"})
_BASES = {path: dict(each.base) for each in ENDPOINTS for path in (each.path, each.path.removeprefix("/v1"))}
_ENDLESS = ("follow", "stream", "remote")


def _checked(url: str) -> int:
    """Send a few cases to every route; returns how many routes that were."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = 0
    results = list(schema.get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results)
    with requests.Session() as session:
        for operation in sorted(operations, key=lambda each: each.method == "delete"):
            if operation.path in _ELSEWHERE or _AGAIN.match(operation.path):
                continue
            tried += 1
            _ask(operation, session, url)
    return tried


def _ask(operation: "APIOperation[Any, Any, Any, Any]", session: requests.Session, url: str) -> None:
    """Send cases to one route."""
    count = itertools.count()

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
        _make_likely(case, next(count))
        reply = case.call(session=session, base_url=url, timeout=10)

        assert reply.status_code != 500, case.as_curl_command()
        form = "".join(reply.headers.get("content-type", ()))
        told = [response_schema_conformance] if form.startswith("application/json") else []
        case.validate_response(reply, checks=[status_code_conformance, *told])

    ask()


def _make_likely(case: "schemathesis.Case[Any]", number: int) -> None:
    """Have most cases get beyond the first check: real names, and bodies with but one field made up."""
    for name in _ENDLESS:
        case.query.pop(name, None)
    if number % 4 == 0:
        return
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            for name in _NAMES & set(place):
                place[name] = "ai/tiny"
    base = _BASES.get(case.operation.path)
    if base is not None and isinstance(case.body, dict):
        made_up = sorted(set(case.body) - _NAMES)
        case.body = {
            **base,
            **({} if not made_up else {(one := made_up[number % len(made_up)]): case.body[one]}),
        }


@pytest.mark.timeout(90)
async def test_no_route_fails_or_says_what_is_not_described(make_daemon: "Make") -> None:
    """Cases are made from the description, and are the same in every run; so are the forms of errors."""
    async with serving(FakeRegistry()) as registry:
        nearby = {"DEFAULT_REGISTRY": registry.removeprefix("http://"), "INSECURE_REGISTRY": "true"}
        daemon = await make_daemon(engine={"tokenizes": True}, **nearby)
        await daemon.add(f"{nearby['DEFAULT_REGISTRY']}/ai/tiny:latest")

        assert await asyncio.to_thread(_checked, daemon.url) > 50

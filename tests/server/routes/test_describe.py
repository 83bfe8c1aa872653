"""`/openapi.json` and `/docs`."""

import re
from typing import TYPE_CHECKING

from modelrunner.server.app import ROUTES
from modelrunner.server.openapi import doc_of
from modelrunner.server.route_docs import OTHER

if TYPE_CHECKING:
    from tests.server.conftest import Daemon


async def test_every_route_is_described_with_its_statuses(daemon: "Daemon") -> None:
    """The table's, and each prefix of the paths that lead to a model."""
    document = (await daemon.ask("GET", "/openapi.json")).json
    paths = document["paths"]
    for route in ROUTES:
        answers = paths[route.path][route.method.lower()]["responses"]
        assert {"400", "403", "500"} < set(answers)
        assert any(status.startswith("2") for status in answers) or route.path == "/models/{name}"
    for path in ("/v1/chat/completions", "/v1/messages", "/score", "/v1/audio/speech"):
        for prefix in ("", "/engines", "/engines/{engine}"):
            assert "429" in paths[f"{prefix}{path}"]["post"]["responses"]

    assert {"/api/chat", "/anthropic/v1/messages", "/docs", "/openapi.json"} < set(paths)


async def test_a_route_has_the_statuses_that_it_can_end_with(daemon: "Daemon") -> None:
    """And no others, but for those that any route may have."""
    paths = (await daemon.ask("GET", "/openapi.json")).json["paths"]

    def statuses(method: str, path: str) -> set[int]:
        return {int(status) for status in paths[path][method]["responses"]} - {400, 403, 500}

    assert {200} == statuses("get", "/version")
    assert {200, 201, 507} == statuses("post", "/api/blobs/{name}")
    assert {200, 404, 409} == statuses("delete", "/models/{name}")
    assert {202, 404, 409, 412, 413, 422} == statuses("post", "/engines/{engine}/_configure")
    assert {200, 404} == statuses("get", "/v1/responses/{name}")


async def test_each_route_is_described_in_words_of_its_own() -> None:
    """None is left with what is said of routes that nobody described."""
    assert [] == [route.path for route in ROUTES if doc_of(route.method, route.path) is OTHER]


async def test_no_reference_leads_nowhere(daemon: "Daemon") -> None:
    """Each type that is referred to is there."""
    answer = await daemon.ask("GET", "/openapi.json")
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', answer.text))

    assert "ConfigureRequest" in names
    assert names <= set(answer.json["components"]["schemas"])


async def test_the_page_needs_nobody_else(daemon: "Daemon") -> None:
    """No address of another host is in it, and its policy lets nothing else in."""
    answer = await daemon.ask("GET", "/docs")

    assert 200 == answer.status
    assert "://" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")

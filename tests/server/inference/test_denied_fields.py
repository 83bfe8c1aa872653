"""Fields of requests that an engine must not get."""

import json
from typing import TYPE_CHECKING

import pytest

from modelrunner.engines.denied_fields import FILES, TEMPLATES, at_least
from modelrunner.errors import InvalidRequest
from modelrunner.server.inference.denied_fields import refuse_denied

if TYPE_CHECKING:
    from tests.server.conftest import Daemon

DENIED = {"adapters": FILES, "n_discard": at_least(0), **TEMPLATES}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"adapters": "/etc"}', "adapters"),
        ('{"\\u0061dapters": "/etc"}', "adapters"),
        ('{"adapters": ""}', "adapters"),
        ('{"adapters": null, "adapters": "/etc"}', "adapters"),
        ('{"n_discard": -1}', "n_discard"),
        ('{"n_discard": 0.5}', "n_discard"),
        ('{"n_discard": "1"}', "n_discard"),
        ('{"n_discard": 1e400}', "n_discard"),
        ('{"chat_template": "x"}', "chat_template"),
        ('{"chat_template_kwargs": {"chat_template": "x"}}', "chat_template_kwargs.chat_template"),
    ],
)
def test_a_field_that_is_denied_is_refused_by_its_name(body: str, name: str) -> None:
    """However it is written; the reason is told."""
    with pytest.raises(InvalidRequest, match=f"`{name}` is not accepted: "):
        refuse_denied(body.encode(), DENIED)


@pytest.mark.parametrize(
    "body",
    [
        '{"model": "adapters", "messages": [{"adapters": 1}]}',
        '{"adapters": null, "n_discard": 0, "chat_template_kwargs": {"enable_thinking": false}}',
        '{"n_discard": 7, "chat_template_kwargs": null}',
        '{"chat_template_kwargs": [1]}',
        "{}",
    ],
)
def test_anything_else_passes(body: str) -> None:
    """The same words elsewhere, nothing instead of something, and numbers within their range."""
    refuse_denied(body.encode(), DENIED)


async def test_an_engine_does_not_see_what_it_is_denied(tiny: "Daemon") -> None:
    """It is refused before the request is passed on, by whatever path it comes."""
    for path in ("/v1/chat/completions", "/engines/llama.cpp/v1/chat/completions", "/v1/completions"):
        answer = await tiny.ask("POST", path, json={**tiny.chat(), "prompt": "x", "n_discard": -1})

        assert 400 == answer.status
        assert "`n_discard` is not accepted" in json.loads(answer.text)["error"]["message"]

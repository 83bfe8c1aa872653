"""The table of fields with the real engine: what it calls supported or without effect, llama.cpp takes."""

import http.client
import json

import pytest

from modelrunner.dialects import fields_openai
from modelrunner.dialects.fields import Fields, Treatment
from modelrunner.testing.daemon import Runner

pytestmark = pytest.mark.engine

# For models that see or hear, which this one does not.
_SENSES = ("image_url", "input_audio")
_SHORT = {"max_tokens": 1}


@pytest.mark.parametrize(
    "fields",
    [fields_openai.CHAT, fields_openai.COMPLETIONS, fields_openai.EMBEDDINGS],
    ids=lambda fields: fields.title,
)
def test_the_engine_takes_each_field(real: Runner, calling: str, fields: Fields) -> None:
    """Sent one by one, to a model that knows tools."""
    refused = []
    connection = http.client.HTTPConnection("127.0.0.1", real.port, timeout=60)
    for row in fields.rows:
        if row.treatment is Treatment.REFUSED or row.name == "model" or row.name.endswith(_SENSES):
            continue
        body = {**fields.base, **_SHORT, **row.body, "model": calling}
        connection.request("POST", fields.path, json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            refused.append((row.name, reply.status, text[:200]))
    connection.close()

    assert [] == refused

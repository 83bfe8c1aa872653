"""All endpoints whose fields are told of, and the page about them."""

from modelrunner.dialects import (
    fields_anthropic,
    fields_ollama,
    fields_openai,
    fields_responses,
    fields_speech,
)
from modelrunner.dialects.fields import Fields, markdown

ENDPOINTS: tuple[Fields, ...] = (
    *fields_openai.ENDPOINTS,
    *fields_speech.ENDPOINTS,
    *fields_responses.ENDPOINTS,
    *fields_anthropic.ENDPOINTS,
    *fields_ollama.ENDPOINTS,
)
_INTRODUCTION = """# Fields of requests

{note}

What becomes of each field, in each of the dialects. Paths and answers are in [the API](api.md).

- **supported**: the engine gets it as it was sent; what an engine or a model cannot do, it says.
- **translated**: the engine is told in other words, or the daemon sees to it itself.
- **without effect**: it may be there, and changes nothing.
- **refused**: an error with status 4xx says why it is not to be had.

A field that is null is as one that is not there. One of a wrong type is an error that names it.
"""


def page(note: str) -> str:
    """Write the whole page; `note` says how it came about."""
    return "\n".join([_INTRODUCTION.format(note=note), *map(markdown, ENDPOINTS)])

"""How an error is answered."""

from typing import NotRequired, TypedDict


class ErrorDetail(TypedDict):
    """One error, in OpenAI's form and with our hint; `param` is the field of a request that is at fault."""

    message: str
    type: str
    code: str
    param: str | None
    hint: NotRequired[str]


class ErrorBody(TypedDict):
    """The body of every JSON error."""

    error: ErrorDetail

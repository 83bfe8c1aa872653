"""What a dialect is: how one API writes its errors, before and after the headers."""

from typing import Protocol

from modelrunner.errors import RunnerError


class Dialect(Protocol):
    """One API's manner of speaking. Both methods give bytes, ready to be sent."""

    def error(self, exc: RunnerError) -> bytes:
        """Write an error as the JSON body of a response of its own."""
        ...

    def late_error(self, exc: RunnerError) -> bytes:
        """Write an error into an event stream that has already begun."""
        ...

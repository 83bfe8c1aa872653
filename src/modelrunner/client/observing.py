"""What a screen that stays open asks of the daemon again and again."""

import json
from typing import TYPE_CHECKING

from modelrunner.client import expected
from modelrunner.client.transport import Transport

if TYPE_CHECKING:
    from modelrunner.wire.daemon import HealthReply
    from modelrunner.wire.insight import WaitingRequest

_STALLED = 503
_NONE = 404


class Observer:
    """The routes that tell what goes on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def queue(self) -> "list[WaitingRequest]":
        """List the requests that wait, by their place in line."""
        return self._transport.call("GET", "/engines/queue", expected.QUEUE)

    def health(self) -> "HealthReply":
        """Tell whether requests wait while nothing goes on."""
        with self._transport.open("GET", "/health", allowed=_STALLED) as response:
            raw = response.read()
        try:
            reply = json.loads(raw)
        except (ValueError, RecursionError):
            reply = None
        return self._transport.checked(reply, expected.HEALTH)

    def metrics(self) -> str | None:
        """Return the metrics as they are; None where there are none."""
        with self._transport.open("GET", "/metrics", allowed=_NONE) as response:
            raw = response.read()
        return None if response.status == _NONE else raw.decode(errors="replace")

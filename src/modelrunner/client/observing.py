"""What a screen that stays open asks of the daemon again and again."""

import json
from typing import TYPE_CHECKING, cast

from modelrunner.client.shape import INTEGER, NUMBER, TEXT, Shape, fits
from modelrunner.client.transport import Transport

if TYPE_CHECKING:
    from modelrunner.wire.daemon import HealthReply
    from modelrunner.wire.insight import WaitingRequest

_STALLED = 503
_NONE = 404
_QUEUE = [{"model": TEXT, "mode": TEXT, "position": INTEGER, "waited": NUMBER, "text": TEXT}]
_HEALTH = {"status": TEXT, "seconds?": NUMBER, "waiting?": INTEGER, "text?": TEXT}


class Observer:
    """The routes that tell what goes on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def queue(self) -> "list[WaitingRequest]":
        """List the requests that wait, by their place in line."""
        reply = self._transport.call(list[object], "GET", "/engines/queue")
        return cast("list[WaitingRequest]", self._checked(reply, _QUEUE))

    def health(self) -> "HealthReply":
        """Tell whether requests wait while nothing goes on."""
        with self._transport.open("GET", "/health", allowed=_STALLED) as response:
            raw = response.read()
        try:
            reply = json.loads(raw)
        except (ValueError, RecursionError):
            reply = None
        return cast("HealthReply", self._checked(reply, _HEALTH))

    def metrics(self) -> str | None:
        """Return the metrics as they are; None where there are none."""
        with self._transport.open("GET", "/metrics", allowed=_NONE) as response:
            raw = response.read()
        return None if response.status == _NONE else raw.decode(errors="replace")

    def _checked(self, reply: object, shape: Shape) -> object:
        """Return the reply if it can be read.

        Raises:
            RunnerError: it cannot, so this is no daemon of ours.
        """
        if not fits(reply, shape):
            raise self._transport.stranger()
        return reply

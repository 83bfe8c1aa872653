"""Whether and when to try again: a policy as data, and decisions that neither wait nor look at a clock."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to try again. Times are in seconds.

    Failures are counted in a row, from 1. `draw` is a random number from 0 up to 1, so that many clients that
    failed together do not come back together.
    """

    transient: frozenset[int] = frozenset({408, 429, 500, 502, 503, 504})
    tries: int = 5  # of a request that gets an answer such as 503
    breaks: int = (
        9  # in a row, of a transfer that had begun: a minute or more, in which a router starts again
    )
    connects: int = 3  # of a connection that is refused: a person waits, and a wrong name stays wrong
    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    jitter: float = 0.5  # the share of a delay that is left to chance
    patience: float = 120.0  # the longest wish of a registry that is obeyed
    headway: int = 64 * 1024  # bytes after which a broken body counts as a first failure again

    def delay(self, failures: int, draw: float) -> float:
        """How long to wait after the given number of failures in a row."""
        try:
            full = min(self.longest, self.first * self.factor ** (failures - 1))
        except OverflowError:
            full = self.longest
        return full * (1 - self.jitter * draw)

    def after_status(
        self, status: int, failures: int, draw: float, retry_after: float | None = None
    ) -> float | None:
        """How long to wait before repeating a request that got this status; None for not at all."""
        if status not in self.transient or failures >= self.tries:
            return None
        if retry_after is None:
            return self.delay(failures, draw)
        # Everybody was told the same moment: chance adds to it, and never comes before it.
        return retry_after + self.jitter * draw if retry_after <= self.patience else None

    def after_break(self, failures: int, draw: float) -> float | None:
        """How long to wait before going on with a body that broke off; None for not at all."""
        return self.delay(failures, draw) if failures < self.breaks else None

    def after_cut(self, failures: int, draw: float) -> float | None:
        """How long to wait before fetching a document once more that broke off; None for not at all."""
        return self.delay(failures, draw) if failures < self.tries else None

    def after_refusal(self, failures: int, draw: float) -> float | None:
        """How long to wait before connecting again to a host that cannot be reached; None for not at all."""
        return self.delay(failures, draw) if failures < self.connects else None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a `Retry-After` header, in seconds from `now`; None when it is absent or makes no sense.

    Source: RFC 9110, section 10.2.3: whole seconds, or a date.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())

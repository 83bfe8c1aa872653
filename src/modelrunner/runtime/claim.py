"""A lease for the length of a block."""

from types import TracebackType
from typing import Generic, Protocol

from modelrunner.runtime.scheduling.lease import Lease, R
from modelrunner.runtime.scheduling.plan import Key
from modelrunner.runtime.scheduling.request_queue import Terms


class Lender(Protocol[R]):
    """Who gives leases."""

    def try_lease(self, key: Key, terms: Terms) -> Lease[R] | None:
        """Give one that is to be had now."""
        ...

    async def acquire(self, key: Key, terms: Terms) -> Lease[R]:
        """Give one when it is to be had."""
        ...


class Claim(Generic[R]):
    """`async with` around a lease; a class, because a generator costs more on every request."""

    __slots__ = ("_key", "_lease", "_lender", "_terms")

    def __init__(self, lender: Lender[R], key: Key, terms: Terms) -> None:
        self._lender = lender
        self._key = key
        self._terms = terms
        self._lease: Lease[R] | None = None

    async def __aenter__(self) -> Lease[R]:
        lender, key, terms = self._lender, self._key, self._terms
        self._lease = lease = lender.try_lease(key, terms) or await lender.acquire(key, terms)
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lease is not None:
            self._lease.release()

"""What one decision counts with: room as promised and as seen, now and once what makes room is gone."""

from modelrunner.runtime.scheduling.ledger import Amounts, Room, total


class Accounts:
    """Four rooms that are kept alike. Nothing is seen until somebody looks, for that costs something."""

    def __init__(self, capacity: Amounts, *, held: Amounts, freed: Amounts) -> None:
        """`held` is set aside for residents; `freed` is what those leave behind that are about to go."""
        self._now = Room(capacity)
        self._now.take(held)
        self._later = Room(self._now.left)
        self._later.give(freed)
        self._seen_now: Room | None = None
        self._seen_later = Room({})
        self._claims: list[Amounts] = []

    @property
    def has_looked(self) -> bool:
        """Whether it is known what is seen to be free."""
        return self._seen_now is not None

    @property
    def seen(self) -> Amounts:
        """What is seen to be free now, and claimed by nobody."""
        assert self._seen_now is not None
        return self._seen_now.left

    def look(self, free: Amounts, *, taken: Amounts, freed: Amounts) -> None:
        """Count with what is seen too: `free` now, of which `taken` is about to be; `freed` comes later."""
        self._seen_now = Room(free)
        self._seen_now.take(taken)
        self._seen_now.take(total(self._claims))
        self._seen_later = Room(self._seen_now.left)
        self._seen_later.give(freed)

    def has_now(self, amounts: Amounts) -> bool:
        """Whether so much is free: promised to nobody, and seen if somebody has looked."""
        return self._now.has(amounts) and (self._seen_now is None or self._seen_now.has(amounts))

    def lack(self, amounts: Amounts) -> Amounts:
        """What of it is promised to others, also once what makes room is gone."""
        return self._later.lack(amounts)

    def unseen(self, amounts: Amounts) -> Amounts:
        """What of it will not be seen to be free, although it may be promised to nobody."""
        return self._seen_later.lack(amounts)

    def claim(self, need: Amounts) -> None:
        """Keep what somebody has, or waits for, from those behind."""
        self._claims.append(need)
        self._now.take(need)
        self._later.take(need)
        if self._seen_now is not None:
            self._seen_now.take(need)
            self._seen_later.take(need)

    def pass_on(self, amounts: Amounts) -> None:
        """Have what one leaves behind, which was counted on for later, be there for its successor."""
        self._now.give(amounts)

    def expect(self, amounts: Amounts) -> None:
        """Count on what somebody is to give back."""
        self._later.give(amounts)
        if self._seen_now is not None:
            self._seen_later.give(amounts)

    def keep(self, kept: Amounts, more: Amounts) -> None:
        """Let one that was counted on keep some of it, asleep, and have `more` while it falls asleep."""
        self._later.take(kept)
        self._now.take(more)
        if self._seen_now is not None:
            self._seen_now.take(more)
            self._seen_later.take(kept)

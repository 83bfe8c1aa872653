"""What there is, what has been promised of it, and whether something more fits. Pure; amounts are in bytes.

An amount belongs to a resource: a device's memory, such as `ram` or `cuda:0`, or the places of the pool, of
which each model takes one. A resource that nobody limits is in no room, and never lacking.
"""

from collections.abc import Iterable, Mapping, Sequence

Amounts = Mapping[str, int]

PLACE = "place"
ONE_PLACE: Amounts = {PLACE: 1}


class Room:
    """What is left of some resources. Less than nothing is left when it has been spoken for."""

    __slots__ = ("_left",)

    def __init__(self, amounts: Amounts) -> None:
        self._left = dict(amounts)

    def take(self, amounts: Amounts) -> None:
        """Have less."""
        left = self._left
        for name, amount in amounts.items():
            if name in left:
                left[name] -= amount

    def give(self, amounts: Amounts) -> None:
        """Have more."""
        left = self._left
        for name, amount in amounts.items():
            if name in left:
                left[name] += amount

    def has(self, amounts: Amounts) -> bool:
        """Whether so much is left."""
        left = self._left
        return all(amount <= left.get(name, amount) for name, amount in amounts.items())

    def lack(self, amounts: Amounts) -> Amounts:
        """What is missing for so much."""
        left = self._left
        return {
            name: amount - left[name]
            for name, amount in amounts.items()
            if name in left and amount > left[name]
        }

    @property
    def left(self) -> Amounts:
        """What is left, by resource."""
        return dict(self._left)


def less(amounts: Amounts, other: Amounts) -> Amounts:
    """Subtract; what is less than nothing stays so."""
    names = amounts.keys() | other.keys()
    return {name: amounts.get(name, 0) - other.get(name, 0) for name in names}


def beyond(amounts: Amounts, other: Amounts) -> Amounts:
    """What some amounts have more of than others."""
    return {name: more for name, more in less(amounts, other).items() if more > 0}


def larger(amounts: Amounts, other: Amounts) -> Amounts:
    """Of each the larger of two."""
    names = amounts.keys() | other.keys()
    return {name: max(amounts.get(name, 0), other.get(name, 0)) for name in names}


def total(amounts: Iterable[Amounts]) -> Amounts:
    """Add up."""
    result: dict[str, int] = {}
    for each in amounts:
        for name, amount in each.items():
            result[name] = result.get(name, 0) + amount
    return result


def cover(needs: Sequence[Amounts], lack: Amounts) -> tuple[int, ...] | None:
    """Choose, from the front, which of several to give up so that nothing lacks; None when all are too few.

    What turns out not to be needed is spared, from the back.
    """
    left = {name: amount for name, amount in lack.items() if amount > 0}
    chosen: list[int] = []
    for index, need in enumerate(needs):
        if not left:
            break
        helps = False
        for name in tuple(left):
            if amount := need.get(name, 0):
                helps = True
                left[name] -= amount
                if left[name] <= 0:
                    del left[name]
        if helps:
            chosen.append(index)
    if left:
        return None
    for index in reversed(chosen[:-1]):
        rest = total(needs[other] for other in chosen if other != index)
        if all(rest.get(name, 0) >= amount for name, amount in lack.items()):
            chosen.remove(index)
    return tuple(chosen)

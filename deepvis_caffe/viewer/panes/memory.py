"""What was made of a thing, kept by the thing's identity: large ones are slow to compare."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByIdentity(Generic[T]):
    """Keeps the last results made of things that nobody changes.

    Parameters
    ----------
    most
        How many results are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[tuple[int, Hashable], tuple[object, T]] = OrderedDict()

    def get(self, thing: object, key: Hashable, make: Callable[[], T]) -> T:
        """What was made of a thing for a key; made now where it is not there."""
        place = (id(thing), key)
        found = self._made.get(place)
        if found is not None:
            return found[1]
        made = make()
        self._made[place] = (thing, made)  # the thing, too: while it lives, nobody else has its id
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return made

"""Caches with bounds: by a number of bytes, and by the identity of an object."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that drops what was used longest ago once it holds too many bytes.

    The newest item is kept, whatever its size. Not safe for several threads at once.

    Parameters
    ----------
    most
        Bytes.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` bytes, in place of what the key had."""
        self._held += size - self._items.pop(key, (None, 0))[1]
        self._items[key] = value, size
        while self._held > self._most and len(self._items) > 1:
            self._held -= self._items.popitem(last=False)[1][1]

    def get(self, key: K) -> V | None:
        """The value, which counts as used now; None where it is not held."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)


T = TypeVar("T")


class ByIdentity(Generic[T]):
    """Keeps the last results computed from objects that nobody changes.

    Parameters
    ----------
    most
        How many results are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[tuple[int, Hashable], tuple[object, T]] = OrderedDict()

    def get(self, thing: object, key: Hashable, make: Callable[[], T]) -> T:
        """The result for an object and a key; computed now if it is not kept."""
        place = (id(thing), key)
        found = self._made.get(place)
        if found is not None:
            return found[1]
        made = make()
        self._made[place] = (thing, made)  # with the object: while it lives, no other has its id
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return made

"""Bounded caches: LRU by size in bytes, and keyed by the identity of objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """An LRU cache bounded by the total size of its values.

    The newest item is always kept, whatever its size. Not thread-safe.

    Parameters
    ----------
    most
        The bound, bytes.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def put(self, key: K, value: V, size: int) -> None:
        """Store a value of `size` bytes, replacing the key's previous one."""
        self._held += size - self._items.pop(key, (None, 0))[1]
        self._items[key] = value, size
        while self._held > self._most and len(self._items) > 1:
            self._held -= self._items.popitem(last=False)[1][1]

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used; None if not cached."""
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
    """Caches results computed from objects that must not be modified, keyed by identity.

    Parameters
    ----------
    most
        How many results are kept; the oldest are dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[tuple[int, Hashable], tuple[object, T]] = OrderedDict()

    def get(self, thing: object, key: Hashable, make: Callable[[], T]) -> T:
        """The result for an object and a key; computed by `make` if not cached."""
        place = (id(thing), key)
        found = self._made.get(place)
        if found is not None:
            return found[1]
        made = make()
        self._made[place] = (thing, made)  # keeps the object alive, so its id stays unique
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return made

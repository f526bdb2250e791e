"""A setting of the whole process that blocks of code in several threads need at another value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedSetting(Generic[T]):
    """A process-wide setting: the first thread to enter a block sets it, the last one restores it.

    Parameters
    ----------
    read, write
        Get and set the setting.
    within
        Its value within the blocks.
    """

    def __init__(self, read: Callable[[], T], write: Callable[[T], None], within: T) -> None:
        self._read, self._write, self._within = read, write, within
        self._lock, self._blocks = Lock(), 0
        self._before = within

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """A block with that value."""
        with self._lock:
            if not self._blocks:
                self._before = self._read()
                self._write(self._within)
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                if not self._blocks:
                    self._write(self._before)

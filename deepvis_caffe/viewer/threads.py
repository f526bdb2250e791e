"""How the viewer's threads wait and exchange work: latest-value slots instead of queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """A latest-value slot: putting never blocks, and the consumer never lags behind.

    Any number of threads may put and take.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None

    def put(self, item: T) -> None:
        """Store an item; the previous one is dropped if it was not taken."""
        with self._changed:
            self._item = item
            self._changed.notify_all()

    def take(self, timeout: float | None = 0.0) -> T | None:
        """Remove and return the item; wait up to `timeout` seconds for one (None: forever)."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None, timeout)
            item, self._item = self._item, None
            return item


class Background:
    """Daemon threads that are started once.

    Parameters
    ----------
    name
        Their name, prefixed with that of the program.
    runs
        Each one's function; it must return once `closing` is set, which notifies `news`.

    Attributes
    ----------
    news
        Guards what the threads share with others; notified whenever there is work.
    closing
        Whether the threads should end.
    """

    def __init__(self, name: str, *runs: Callable[[], None]) -> None:
        self.news = threading.Condition()
        self.closing = False
        self._threads = [
            threading.Thread(target=run, name=f"deepvis {name}", daemon=True) for run in runs
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self, timeout: float) -> bool:
        """End the threads after their current work; return whether all ended in time.

        Parameters
        ----------
        timeout
            Seconds to wait for all of them together.
        """
        with self.news:
            self.closing = True
            self.news.notify_all()
        latest = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, latest - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

"""How the viewer's threads wait and exchange work: latest-value slots instead of queues."""

from __future__ import annotations

import threading
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
    """A daemon thread that is started once.

    Parameters
    ----------
    name
        The thread's name, prefixed with that of the program.
    run
        The thread's function; it must return once `closing` is set, which notifies `news`.

    Attributes
    ----------
    news
        Guards what the thread shares with others; notified whenever there is work.
    closing
        Whether the thread should end.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.news = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=run, name=f"deepvis {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """End the thread after its current work; return whether it ended in `timeout` seconds."""
        with self.news:
            self.closing = True
            self.news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

"""How the viewer's threads wait and hand over work: the newest item, never a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """A slot that holds one item, the newest: putting never waits, and taking never lags behind.

    Any number of threads may put and take.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None

    def put(self, item: T) -> None:
        """Put the newest item in; one that was not taken is lost."""
        with self._changed:
            self._item = item
            self._changed.notify_all()

    def take(self, timeout: float | None = 0.0) -> T | None:
        """Take the item out, waiting for one up to `timeout` seconds (None: forever)."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None, timeout)
            item, self._item = self._item, None
            return item


class Background:
    """A thread that is started once, and that the process does not wait for.

    Parameters
    ----------
    name
        The thread's, behind the program's.
    run
        Its work; it returns once `closing` is set, which is notified through `news`.

    Attributes
    ----------
    news
        Guards what the thread shares with others; notified whenever there is work.
    closing
        Whether the thread is to end.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.news = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=run, name=f"deepvis {name}", daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """End it after its current work; return whether it ended within `timeout` seconds."""
        with self.news:
            self.closing = True
            self.news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

"""A thread of the viewer's own: it waits for news, and ends when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread that is started once and can be left behind.

    Parameters
    ----------
    name
        The thread's, behind the program's.
    run
        What it does: until `closing`, of which it hears by `news`.

    Attributes
    ----------
    news
        Guards what the thread shares with others; notified whenever there is something to do.
    closing
        Whether the thread is to end. Read it while you hold `news`, or to look in passing.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.news = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=run, name=f"deepvis {name}", daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """End it after what it does now; whether it ended within `timeout` seconds."""
        with self.news:
            self.closing = True
            self.news.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

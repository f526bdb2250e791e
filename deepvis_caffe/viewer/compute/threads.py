"""How the viewer's threads wait for news and hand over: the newest frame, never a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deepvis_caffe.image import Picture

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture that a source gave.

    Attributes
    ----------
    picture
        (H, W, 3), RGB, uint8, of any size.
    number
        Counts the frames of one viewer: no two have the same.
    name
        What it is, for people: ``"camera 0"``, ``"cat.jpg"``, ``"clip.mp4 0:12"``.
    live
        Whether more of the kind follow by themselves, as from a camera.
    """

    picture: Picture = field(repr=False)
    number: int
    name: str
    live: bool = False


class Newest(Generic[T]):
    """A slot that holds one thing, the newest: who puts never waits, who takes never lags.

    Any number of threads may put and take.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None

    def put(self, item: T) -> None:
        """Put the newest in; one that nobody took is gone."""
        with self._changed:
            self._item = item
            self._changed.notify_all()

    def take(self, timeout: float | None = 0.0) -> T | None:
        """Take what is there out, waiting for it up to `timeout` seconds (None: for ever)."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None, timeout)
            item, self._item = self._item, None
            return item


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

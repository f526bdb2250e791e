"""What a source of pictures is: it gives the next one when it is asked."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.compute.threads import Newest

Pause = Callable[[float], None]


class Shot(NamedTuple):
    """A picture, (H, W, 3) RGB uint8, and what it is, for people."""

    picture: Picture
    name: str


class Source(abc.ABC):
    """Gives pictures, one at a time, to the one thread that asks.

    Attributes
    ----------
    name
        What it is, for people.
    live
        Whether its pictures change by themselves. One that is not is asked for a picture once, and
        again after :meth:`step`.
    trouble
        What is wrong with it now, in words; empty where nothing is.
    """

    name: str
    live: bool
    trouble: str = ""

    @abc.abstractmethod
    def read(self, pause: Pause) -> Shot | None:
        """The next picture; None where there is none now, and `trouble` says why.

        Parameters
        ----------
        pause
            Waits so many seconds, or less where something else is asked for; to be used for all
            waiting.
        """

    def step(self, count: int) -> None:  # noqa: B027  # a camera has nowhere to go
        """Go `count` pictures on, or so many leaps in a video; backward where negative."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of devices; the next :meth:`read` takes them up again."""


LOOK = 0.1  # seconds between two looks whether something else is asked for


class Pushed(Source):
    """Gives what was pushed last, each picture once."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._newest: Newest[Picture] = Newest()

    def push(self, picture: Picture) -> None:
        """Let this be the next picture, (H, W, 3) RGB uint8; from any thread."""
        self._newest.put(picture)

    def read(self, pause: Pause) -> Shot | None:
        """The picture that was pushed last, if nobody had it yet."""
        picture = self._newest.take(LOOK)
        return None if picture is None else Shot(picture, self.name)

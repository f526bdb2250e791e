"""What a source of pictures is: it returns the next one when it is asked."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.threads import Newest

Pause = Callable[[float], None]


class Shot(NamedTuple):
    """A picture and its name to be shown.

    Attributes
    ----------
    picture
        (H, W, 3) RGB uint8; or what `read_channels` reads for a net of other channels.
    """

    picture: NDArray[Any]
    name: str


class Source(abc.ABC):
    """Gives pictures, one at a time, to a single thread.

    Attributes
    ----------
    name
        The name to be shown.
    live
        Whether its pictures change by themselves. A source that is not live is asked for a picture
        once, and again after :meth:`step`.
    channels
        Of the net's input, which tells what is read of an image file; see `read_channels`.
    trouble
        What is wrong with it now; empty if nothing is.
    """

    name: str
    live: bool
    channels: int = 3
    trouble: str = ""

    @abc.abstractmethod
    def read(self, pause: Pause) -> Shot | None:
        """The next picture; None if there is none now, and `trouble` says why.

        Parameters
        ----------
        pause
            Waits for a number of seconds, or less if there is a command meanwhile. All waiting is
            done with it.
        """

    def step(self, count: int) -> None:  # noqa: B027  # a camera has nowhere to go
        """Go `count` pictures on, or as many skips in a video; backward if negative."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Release devices; the next :meth:`read` opens them again."""


LOOK = 0.1  # seconds between two looks for a command


class Pushed(Source):
    """Gives the picture that was pushed last, each once."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._newest: Newest[Picture] = Newest()

    def push(self, picture: Picture) -> None:
        """Make this the next picture, (H, W, 3) RGB uint8; from any thread."""
        self._newest.put(picture)

    def read(self, pause: Pause) -> Shot | None:
        """The picture that was pushed last, if it was not read yet."""
        picture = self._newest.take(LOOK)
        return None if picture is None else Shot(picture, self.name)

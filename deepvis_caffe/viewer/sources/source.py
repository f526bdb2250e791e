"""The interface of sources, from which a thread pulls pictures."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.threads import Newest

Pause = Callable[[float], None]


class Shot(NamedTuple):
    """A picture and its display name.

    Attributes
    ----------
    picture
        (H, W, 3) RGB uint8; or what `read_channels` reads for a net with other channels.
    """

    picture: NDArray[Any]
    name: str


class Source(abc.ABC):
    """Delivers pictures, one at a time, to a single thread.

    Attributes
    ----------
    name
        The display name.
    live
        Whether its pictures change on their own. A source that is not live is read once, and again
        after :meth:`step`.
    channels
        Number of channels of the net's input, which determines how image files are read; see
        `read_channels`.
    trouble
        What is wrong with it now; empty if nothing is.
    """

    name: str
    live: bool
    channels: int = 3
    trouble: str = ""

    @abc.abstractmethod
    def read(self, pause: Pause) -> Shot | None:
        """The next picture; None if there is none now, for the reason in `trouble`.

        Parameters
        ----------
        pause
            Waits for a number of seconds, or until a command arrives. Implementations must not wait
            in any other way.
        """

    def step(self, count: int) -> None:  # noqa: B027  # a camera has nowhere to go
        """Move by `count` pictures, or by `count` skips in a video; backward if negative."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Release devices; the next :meth:`read` opens them again."""


LOOK = 0.1  # seconds between polls for a command


class Pushed(Source):
    """Delivers the picture that was pushed last, each once."""

    live = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._newest: Newest[Picture] = Newest()

    def push(self, picture: Picture) -> None:
        """Make this the next picture, (H, W, 3) RGB uint8; from any thread."""
        self._newest.put(picture)

    def read(self, pause: Pause) -> Shot | None:
        """The picture that was pushed last, unless already read."""
        picture = self._newest.take(LOOK)
        return None if picture is None else Shot(picture, self.name)

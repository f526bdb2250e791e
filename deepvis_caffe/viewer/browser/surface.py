"""What the page needs of a session: any object of this shape can be looked at in a browser."""

from __future__ import annotations

from typing import Protocol

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.mouse import MouseKind


class Surface(Protocol):
    """The part of the viewer's session that a window, or a page, talks to.

    It is only ever called from one thread, one call at a time.
    """

    @property
    def running(self) -> bool:
        """False once it has been told to end."""

    @property
    def title(self) -> str:
        """The window's title."""

    def press(self, key: str) -> None:
        """Take a key: a character, or one of the names in `messages.KEYS`."""

    def mouse(self, kind: MouseKind, y: int, x: int, steps: int = 0) -> None:
        """Take what the mouse did, at a pixel of the drawn picture; `steps` of a wheel go down."""

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of this size from now on."""

    def draw(self) -> tuple[int, Picture]:
        """The screen, (H, W, 3) RGB uint8, and a number that grows when it changes."""

    def push(self, picture: Picture, name: str) -> None:
        """Make a picture from outside, (H, W, 3) RGB uint8, the input."""

    def end_push(self) -> None:
        """Give the input back to what it was before the first `push`."""

    def set_visitors(self, count: int) -> None:
        """Know how many look on."""

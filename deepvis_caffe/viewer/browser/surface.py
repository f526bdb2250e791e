"""What the browser needs of a session; `deepvis_caffe.viewer.session` implements it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.state.mouse import MouseKind


class Surface(Protocol):
    """The part of the viewer's session that a page uses.

    All methods but `read_image` are called from one thread only.
    """

    @property
    def running(self) -> bool:
        """False once the user has quit."""

    @property
    def title(self) -> str:
        """The window's title."""

    def press(self, key: str) -> None:
        """Handle a key: a character, or one of the names in `messages.KEYS`."""

    def mouse(self, kind: MouseKind, y: int, x: int, steps: int = 0) -> None:
        """Handle the mouse at a pixel of the picture; positive wheel `steps` go down."""

    def resize(self, width: int, height: int) -> None:
        """Draw pictures of this size from now on."""

    def draw(self) -> tuple[int, Picture]:
        """The screen, (H, W, 3) RGB uint8, and a number that grows when it changes."""

    def push(self, picture: Picture, name: str) -> None:
        """Use a picture from outside, (H, W, 3) RGB uint8, as the input."""

    def end_push(self) -> None:
        """Return to the source that was read before the first `push`."""

    def read_image(self, content: bytes) -> NDArray[Any]:
        """Read an image file for `open_image`; called from any thread, raises `ImageError`."""

    def open_image(self, picture: NDArray[Any], name: str) -> None:
        """Make a picture the input."""

    def would_quit(self, key: str) -> bool:
        """Whether a key would end the session now."""

    @property
    def saved(self) -> Sequence[Path]:
        """The files saved so far, in that order."""

    def set_visitors(self, count: int) -> None:
        """Set how many visitors there are."""

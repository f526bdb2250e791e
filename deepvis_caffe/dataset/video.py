"""The frames of a video, in order."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError

SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"))


class Video(Source):
    """Frames by number, decoded from the beginning: seeking is not exact in every format.

    Parameters
    ----------
    path
        The file, which is read through once to count its frames: what its head says may be wrong.

    Raises
    ------
    ImageError
        It cannot be opened, or has no frames.
    """

    kind = "video"
    in_one_stream = True

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._reset()
        with self._lock:
            self._reopen()
            while self._capture.grab():
                self._next += 1
            count = self._next
            self._reopen()
        if not count:
            raise ImageError(f"the video {path} has no frames that can be decoded")
        self.names = [f"frame_{number:08d}" for number in range(count)]

    def read(self, index: int) -> NDArray[Any]:
        """RGB, (H, W, 3), uint8."""
        import cv2

        with self._lock:
            if self._capture is None or index < self._next:
                self._reopen()
            while self._next < index and self._capture.grab():
                self._next += 1
            found, bgr = self._capture.read()
            self._next += 1
        if not found:
            raise ImageError(f"frame {index} cannot be decoded")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))

    def label(self, index: int) -> int | None:
        """None."""
        return None

    def content(self, index: int) -> bytes:
        """The frame's pixels."""
        return self.read(index).tobytes()

    def signature(self) -> str:
        """Of the number of frames, and the file's size."""
        return f"{super().signature()}-{self.path.stat().st_size}"

    def _reset(self) -> None:
        self._capture: Any = None
        self._next = 0
        self._lock = threading.Lock()

    def _reopen(self) -> None:
        import cv2

        self._capture, self._next = cv2.VideoCapture(str(self.path)), 0
        if not self._capture.isOpened():
            raise ImageError(f"cannot open the video {self.path}")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

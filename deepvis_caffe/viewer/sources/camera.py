"""A camera or a network stream. One that goes away is tried again until it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from deepvis_caffe.viewer.sources.capture import open_capture, read_picture
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

AGAIN = 1.0  # seconds between two tries


class Camera(Source):
    """A live source behind OpenCV; a file on a server plays at its own rate, over and over.

    Parameters
    ----------
    device
        A camera's number, a device's path, or the URL of a stream.
    clock
        Seconds that go by.
    """

    live = True

    def __init__(self, device: int | str, clock: Callable[[], float] = time.monotonic) -> None:
        self._device, self._clock = device, clock
        self.name = f"camera {device}" if isinstance(device, int) else _shown(device)
        self._period = self._begun = self._due = (
            0.0  # of a file on a server; a stream has its own pace
        )
        self._capture: Any = None
        self._seen = False

    def read(self, pause: Pause) -> Shot | None:
        """The newest frame; where there is none, another try a second later."""
        if self._capture is None:
            self._capture = open_capture(self._device)
            if self._capture is None:
                state = "is gone" if self._seen else "does not open"
                self.trouble = f"{self.name} {state}; trying again"
                pause(AGAIN)
                return None
            import cv2

            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # no frames of a while ago
            if isinstance(self._device, str) and "://" in self._device:
                self._begin(cv2)
        if self._period:
            pause(self._due - self._clock())
            self._due = max(self._due, self._clock()) + self._period
        picture = read_picture(self._capture)
        if picture is None and self._period and self._due > self._begun + 2 * self._period:
            self.close()  # its end, after which comes its start
            return None
        if picture is None:
            state = "is gone" if self._seen else "opens, but gives no picture"
            self.trouble = f"{self.name} {state}; trying again"
            self.close()
            pause(AGAIN)
            return None
        self._seen, self.trouble = True, ""
        return Shot(picture, self.name)

    def _begin(self, cv2: Any) -> None:
        finite = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._period = 1 / rate if finite and 1 <= rate <= 1000 else 0.0
        self._begun = self._due = self._clock()

    def close(self) -> None:
        """Let go of the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _shown(url: str) -> str:
    """A URL as others may see it: without its password, and what may be one."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()

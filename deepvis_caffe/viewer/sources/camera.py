"""A camera or a network stream. One that goes away is tried again until it is back."""

from __future__ import annotations

from typing import Any

from deepvis_caffe.viewer.sources.capture import open_capture, read_picture
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

AGAIN = 1.0  # seconds between two tries


class Camera(Source):
    """A live source behind OpenCV.

    Parameters
    ----------
    device
        A camera's number, a device's path, or the URL of a stream.
    """

    live = True

    def __init__(self, device: int | str) -> None:
        self._device = device
        self.name = f"camera {device}" if isinstance(device, int) else device
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
        picture = read_picture(self._capture)
        if picture is None:
            self.trouble = f"{self.name} is gone; trying again"
            self.close()
            pause(AGAIN)
            return None
        self._seen, self.trouble = True, ""
        return Shot(picture, self.name)

    def close(self) -> None:
        """Let go of the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

"""Cameras, network streams and video files, read through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deepvis_caffe.image import Picture
from deepvis_caffe.opencv_log import silent_opencv
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

PATIENCE = 5000  # ms; timeout of a stream for opening, and for each frame


def open_capture(what: int | str) -> Any | None:
    """Open a camera, file or stream; None if that fails."""
    import cv2  # before the block, which sets the level of a loaded OpenCV back

    with silent_opencv():
        if isinstance(what, str) and "://" in what:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
            options = [number for limit in limits for number in (limit, PATIENCE)]
            capture = cv2.VideoCapture(what, cv2.CAP_FFMPEG, options)
        else:
            capture = cv2.VideoCapture(what)
    if not capture.isOpened():
        capture.release()
        return None
    return capture


def read_picture(capture: Any) -> Picture | None:
    """The next frame, (H, W, 3) RGB uint8; None at the end, or if the device is gone."""
    there, frame = capture.read()
    if not there or frame is None or not frame.size:
        return None
    import cv2

    if frame.ndim == 2:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(frame, code)  # ten times as fast as frame[..., ::-1].copy()


AGAIN = 1.0  # seconds between attempts to open a source


class Camera(Source):
    """A camera or network stream. A video file on a server plays in a loop at its own frame rate.

    Parameters
    ----------
    device
        A camera's number, a device's path, or the URL of a stream.
    clock
        Returns the time in seconds.
    """

    live = True

    def __init__(self, device: int | str, clock: Callable[[], float] = time.monotonic) -> None:
        self.device, self._clock = device, clock
        self.name = f"camera {device}" if isinstance(device, int) else _shown(device)
        # Timing of a file on a server; live streams set their own pace.
        self._period = self._begun = self._due = 0.0
        self._capture: Any = None
        self._seen = False

    def read(self, pause: Pause) -> Shot | None:
        """The newest frame; None after a second's pause if there is none."""
        if self._capture is None:
            self._capture = open_capture(self.device)
            if self._capture is None:
                state = "is gone" if self._seen else "does not open"
                self.trouble = f"{self.name} {state}; trying again"
                pause(AGAIN)
                return None
            import cv2

            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # avoids stale frames
            if isinstance(self.device, str) and "://" in self.device:
                self._begin(cv2)
        if self._period:
            pause(self._due - self._clock())
            self._due = max(self._due, self._clock()) + self._period
        picture = read_picture(self._capture)
        if picture is None and self._period and self._due > self._begun + 2 * self._period:
            self.close()  # the end of the file; it starts over
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
        """Close the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _shown(url: str) -> str:
    """A URL for display: without credentials, and without a query that may hold some."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


LEAP = 5.0  # seconds skipped per step
LATE = 0.5  # seconds; a video further behind resumes where it is instead of skipping frames
USUAL_RATE = 25.0  # frames per second, if the file does not say


class Video(Source):
    """A video file in real time: frames are never early, and late ones are skipped.

    Parameters
    ----------
    path
        A file in any format that OpenCV's FFmpeg reads.
    clock
        Returns the time in seconds.
    """

    live = True

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self.name = path.name
        self._capture: Any = None
        self._rate = USUAL_RATE
        self._next = 0  # number of the frame that is read next
        self._begun = 0.0  # when frame 0 would have been shown

    def read(self, pause: Pause) -> Shot | None:
        """The next frame, once it is due; the video loops."""
        if self._capture is None and not self._open(pause):
            return None
        behind = self._clock() - self._begun - self._next / self._rate
        if behind < 0:
            pause(-behind)
        elif behind > LATE:  # it was frozen, or the machine was busy
            self._begun += behind
        else:
            for _ in range(int(behind * self._rate)):
                if not self._capture.grab():
                    break
                self._next += 1
        picture = read_picture(self._capture)
        if picture is None:
            if self._next == 0:
                self.trouble = f"{self._path} holds no frame that can be read"
                pause(AGAIN)
                return None
            self._seek(0)
            return self.read(pause)
        at = self._next / self._rate
        self._next += 1
        return Shot(picture, f"{self.name} {int(at // 60)}:{int(at % 60):02d}")

    def step(self, count: int) -> None:
        """Skip `count` times `LEAP` seconds, wrapping around."""
        if self._capture is None:
            return
        import cv2

        total = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        to = self._next + round(count * LEAP * self._rate)
        self._seek(to % total if total > 0 else max(to, 0))

    def close(self) -> None:
        """Close the file; the next `read` starts at the beginning."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self, pause: Pause) -> bool:
        import cv2

        self._capture = open_capture(str(self._path))
        if self._capture is None:
            self.trouble = f"cannot open {self._path} as a video"
            pause(AGAIN)
            return False
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 1 <= rate <= 1000 else USUAL_RATE
        self.trouble, self._next, self._begun = "", 0, self._clock()
        return True

    def _seek(self, frame: int) -> None:
        import cv2

        self._capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        self._next = frame
        self._begun = self._clock() - frame / self._rate

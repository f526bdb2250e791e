"""A video file, over and over, at its own pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepvis_caffe.viewer.sources.capture import open_capture, read_picture
from deepvis_caffe.viewer.sources.source import Pause, Shot, Source

LEAP = 5.0  # seconds that one step goes
LATE = 0.5  # seconds behind its pace after which a video goes on from where it is
USUAL_RATE = 25.0  # frames a second of a file that does not say
AGAIN = 1.0  # seconds between two tries of a file that does not open


class Video(Source):
    """Frames of a file in order, none before its time; frames that are late are left out.

    Parameters
    ----------
    path
        Of any format that OpenCV's FFmpeg reads.
    clock
        Seconds that go by.
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
        """Wait until the next frame's time, and give it; after the last comes the first."""
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
        """Leap by some seconds, around the ends."""
        if self._capture is None:
            return
        import cv2

        total = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        to = self._next + round(count * LEAP * self._rate)
        self._seek(to % total if total > 0 else max(to, 0))

    def close(self) -> None:
        """Close the file; it goes on from its start."""
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

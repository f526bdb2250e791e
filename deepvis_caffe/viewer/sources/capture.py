"""OpenCV's capture, quietly, with pictures as the rest of us have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deepvis_caffe.image import Picture

PATIENCE = 5000  # ms that a stream has to open, and each picture of it to come


def open_capture(what: int | str) -> Any | None:
    """Open a camera, file or stream; None where that fails."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # OpenCV says its own piece otherwise
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    with _silence(getattr(cv2.utils, "logging", None)):  # where OpenCV was loaded before
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


@contextmanager
def _silence(logging: Any | None) -> Iterator[None]:
    if logging is None:  # an old OpenCV
        yield
        return
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def read_picture(capture: Any) -> Picture | None:
    """The next frame, (H, W, 3) RGB uint8; None at the end, or where the device is gone."""
    there, frame = capture.read()
    if not there or frame is None or not frame.size:
        return None
    import cv2

    if frame.ndim == 2:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(frame, code)  # ten times as fast as a copy that runs backward

"""OpenCV's capture, quietly, with pictures as the rest of us have them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from deepvis_caffe.image import Picture


def open_capture(what: int | str) -> Any | None:
    """Open a camera, file or stream; None where that fails."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # OpenCV says its own piece otherwise
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    capture = cv2.VideoCapture(what)
    if not capture.isOpened():
        capture.release()
        return None
    return capture


def read_picture(capture: Any) -> Picture | None:
    """The next frame, (H, W, 3) RGB uint8; None at the end, or where the device is gone."""
    there, frame = capture.read()
    if not there or frame is None or not frame.size:
        return None
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, axis=2)
    return np.ascontiguousarray(frame[..., 2::-1])

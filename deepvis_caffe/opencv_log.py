"""OpenCV's log on stderr: silent where we report ourselves what cannot be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from deepvis_caffe.shared_setting import SharedSetting

# OpenCV reads the first when it is loaded, the second when it first opens a video with FFmpeg.
VARIABLES = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
SILENT = 0  # LOG_LEVEL_SILENT, which OpenCV 4 does not name in Python


@cache  # a block may end while the interpreter does, when nothing can be imported
def _log() -> Any:
    import cv2

    return getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the functions in cv2 itself


_silent_level = SharedSetting(
    lambda: _log().getLogLevel(), lambda level: _log().setLogLevel(level), within=SILENT
)


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV from printing messages within the block.

    If OpenCV is loaded, its log is silent until the last of all threads leaves its block. FFmpeg
    prints what it always prints, since its level cannot be set back.

    Otherwise environment variables are set within the block, except for those that the user has
    set. Child processes inherit them, and if OpenCV is loaded meanwhile, it and its FFmpeg stay
    silent after the block: this is for commands, which end with it.
    """
    if "cv2" in sys.modules:
        with _silent_level():
            yield
        return
    added = VARIABLES.keys() - os.environ.keys()
    os.environ.update({name: VARIABLES[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

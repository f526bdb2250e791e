"""What OpenCV prints. Oracle: OpenCV in a process that knows nothing of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from deepvis_caffe.opencv_log import VARIABLES, silent_opencv

LOG = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has the functions in cv2 itself

MISSING = "import cv2\ncv2.imread('gone.png')\ncv2.VideoCapture(77)\n"
# FFmpeg prints of this one by itself, past OpenCV's log.
DAMAGED = "import cv2\ncv2.VideoCapture('bad.mp4')\n"
BAD_VIDEO = b"\0\0\0\x14ftypisom\0\0\2\0isom"
OPENED = """
import os, sys
import cv2  # which sets variables of its own
from deepvis_caffe.viewer.sources.capture import open_capture
before = dict(os.environ)
assert open_capture(77) is open_capture("bad.mp4") is None
assert dict(os.environ) == before
print("--", file=sys.stderr, flush=True)
"""
AS_IN_A_COMMAND = f"""
import os, subprocess, sys
from deepvis_caffe.opencv_log import silent_opencv
before = dict(os.environ)
with silent_opencv():
    subprocess.run([sys.executable, "-c", {MISSING + DAMAGED!r}], check=True)
assert dict(os.environ) == before
"""


def printed(folder: Path, script: str, **more: str) -> list[str]:
    """The lines on stderr, without times and addresses."""
    (folder / "bad.mp4").write_bytes(BAD_VIDEO)
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder, env=inherited | more, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return re.sub(r"@ ?(0x)?[0-9a-f.]+", "@", ended.stderr).splitlines()


@pytest.mark.process
def test_whoever_opened_a_camera_hears_of_opencv_as_before(tmp_path: Path) -> None:
    plain = printed(tmp_path, MISSING + DAMAGED)
    assert all(any(word in line for line in plain) for word in ("gone.png", "camera", "moov"))
    lines = printed(tmp_path, OPENED + MISSING + DAMAGED)
    end = lines.index("--")
    assert lines[end + 1 :] == plain
    assert lines[:end] == printed(tmp_path, DAMAGED), "nothing of the camera"


@pytest.mark.process
def test_what_a_command_starts_is_silent_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    assert printed(tmp_path, AS_IN_A_COMMAND) == []
    own = {"OPENCV_LOG_LEVEL": "WARNING"}
    assert printed(tmp_path, AS_IN_A_COMMAND, **own) == printed(tmp_path, MISSING, **own) != []


def test_blocks_of_several_threads_may_overlap() -> None:
    before = LOG.getLogLevel()
    one, other = silent_opencv(), silent_opencv()
    try:
        LOG.setLogLevel(2)
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        assert LOG.getLogLevel() == 0
        other.__exit__(None, None, None)
        assert LOG.getLogLevel() == 2
    finally:
        LOG.setLogLevel(before)

"""Check that a window can be opened; on Linux, OpenCV would abort the process if it cannot."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from deepvis_caffe.errors import ViewerError

OTHERWISE = (
    "without a screen run `deepvis view --browser` and open its page, or `deepvis view --headless` "
    "for pictures in files; over ssh, `ssh -X` brings the window to your own screen"
)


class DisplayError(ViewerError):
    """There is no screen to open a window on."""


def check_display() -> None:
    """Raise `DisplayError`, with advice, if no window can be opened."""
    import cv2

    framework = cv2.currentUIFramework()
    if not framework:
        raise DisplayError(
            "this OpenCV was built without windows, as opencv-python-headless is: install "
            f"opencv-python instead; {OTHERWISE}"
        )
    if not sys.platform.startswith("linux"):
        return
    if framework.startswith("QT"):
        _check_platform(Path(cv2.__file__).parent / "qt" / "plugins" / "platforms")
    elif os.environ.get("WAYLAND_DISPLAY"):
        return
    display = os.environ.get("DISPLAY")
    if not display:
        raise DisplayError(f"there is no screen here: DISPLAY is not set; {OTHERWISE}")
    if not _answers(display):
        raise DisplayError(
            f"the X server at DISPLAY={display} does not answer, or does not let this user open "
            f"windows; {OTHERWISE}"
        )


def _check_platform(plugins: Path) -> None:
    """Check that OpenCV's bundled Qt has the platform plugin in QT_QPA_PLATFORM."""
    wish = os.environ.get("QT_QPA_PLATFORM", "")
    known = {file.stem.removeprefix("libq") for file in plugins.glob("libq*.so")}
    if wish and known and not {part.partition(":")[0] for part in wish.split(";")} & known:
        raise DisplayError(
            f"QT_QPA_PLATFORM={wish} names a Qt platform that OpenCV's bundled Qt lacks; "
            f"available: {', '.join(sorted(known))}; unset QT_QPA_PLATFORM; {OTHERWISE}"
        )


def _answers(display: str) -> bool:
    """Whether an X server accepts a connection through libxcb, which the window will use, too."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True  # cannot be checked
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(display.encode(), None)
    try:
        return not xcb.xcb_connection_has_error(connection)
    finally:
        xcb.xcb_disconnect(connection)


def is_open(title: str) -> bool:
    """Whether an OpenCV window is still open."""
    import cv2

    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # a closed Qt window no longer exists
        return False

"""Capital letters where OpenCV gives small ones only: ``(code, "a") -> "A"``.

OpenCV's Qt windows tell of "a", whatever Shift does: `keyPressEvent` in window_QT.cpp turns Qt's
key, which has no case, into ASCII. So the X server is asked how Shift is.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from typing import Any

SHIFT_KEYS = (0xFFE1, 0xFFE2)  # keysyms, left and right
SHIFT, LOCK = 1 << 0, 1 << 1  # of X11's key masks (X11/X.h)


class Shift:
    """Gives letters their case; where they have it already, as they are.

    Opened beside a window and used by its thread.
    """

    def __init__(self) -> None:
        import cv2

        self._x11: Any = None
        self._display: int | None = None
        self._pressed = False
        if sys.platform.startswith("linux") and cv2.currentUIFramework().startswith("QT"):
            self._connect()

    def apply(self, code: int, key: str | None) -> str | None:
        """A key's name with its case, as it came with `code`; to be called with every code."""
        pressed, self._pressed = self._pressed, code in SHIFT_KEYS
        if self._display is None or key is None or len(key) > 1 or not key.isalpha():
            return key
        mask = self._mask()
        # Who types fast has let go of Shift by now; but then it came as a key just before.
        capital = (pressed or bool(mask & SHIFT)) != bool(mask & LOCK)
        return key.upper() if capital else key.lower()

    def close(self) -> None:
        """End the connection."""
        if self._display is not None:
            self._x11.XCloseDisplay(self._display)
            self._display = None

    def _connect(self) -> None:
        try:
            x11 = ctypes.CDLL(ctypes.util.find_library("X11") or "libX11.so.6")
        except OSError:
            return
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
        x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
        x11.XDefaultRootWindow.restype = ctypes.c_ulong
        x11.XDefaultRootWindow.argtypes = [ctypes.c_void_p]
        x11.XQueryPointer.argtypes = [ctypes.c_void_p, ctypes.c_ulong, *[ctypes.c_void_p] * 7]
        self._x11, self._display = x11, x11.XOpenDisplay(None)

    def _mask(self) -> int:
        """Which of Shift, Lock and others are on."""
        root = self._x11.XDefaultRootWindow(self._display)
        windows = [ctypes.c_ulong() for _ in range(2)]
        places = [ctypes.c_int() for _ in range(4)]
        mask = ctypes.c_uint()
        answers = [ctypes.byref(answer) for answer in (*windows, *places, mask)]
        self._x11.XQueryPointer(self._display, root, *answers)
        return mask.value

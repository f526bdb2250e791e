"""Names of keys: ``code of cv2.waitKeyEx -> "a", "left", "pgup", ...`` on every system.

The codes are not OpenCV's, but those of its GUI backend:

- Qt and GTK (Linux) give ASCII, and for keys without a character X11's keysyms, 0xff00 and above
  (``X11/keysymdef.h``); GTK adds the modifiers' bits from 0x10000 on.
- Windows gives ASCII, and for other keys their virtual key code times 65536 (``WinUser.h``).
- macOS gives ASCII, and for other keys AppKit's function keys, 0xf700 and above (``NSEvent.h``).

OpenCV's Qt windows report "a" with and without Shift (seen with opencv-python 5.0 on X11), because
`keyPressEvent` in window_QT.cpp converts Qt's key code, which has no case, to ASCII. So `Shift`
queries the X server for the modifier state. Since that may fail, no action has only a capital
letter as its key.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

X11 = {
    0xFF08: "backspace",
    0xFF09: "tab",
    0xFF0D: "enter",
    0xFF1B: "esc",
    0xFF50: "home",
    0xFF51: "left",
    0xFF52: "up",
    0xFF53: "right",
    0xFF54: "down",
    0xFF55: "pgup",
    0xFF56: "pgdn",
    0xFF57: "end",
    0xFF63: "insert",
    0xFFFF: "delete",
    # The numeric keypad with Num Lock off, and its Enter.
    0xFF8D: "enter",
    0xFF95: "home",
    0xFF96: "left",
    0xFF97: "up",
    0xFF98: "right",
    0xFF99: "down",
    0xFF9A: "pgup",
    0xFF9B: "pgdn",
    0xFF9C: "end",
    0xFF9E: "insert",
    0xFF9F: "delete",
    **{0xFFBE + number: f"f{number + 1}" for number in range(12)},
}
# With Num Lock on: characters; 0xffb0 is 0.
X11 |= {0xFFB0 + digit: str(digit) for digit in range(10)}
X11 |= {0xFFAA: "*", 0xFFAB: "+", 0xFFAD: "-", 0xFFAE: ".", 0xFFAF: "/"}

WINDOWS = {
    0x21: "pgup",
    0x22: "pgdn",
    0x23: "end",
    0x24: "home",
    0x25: "left",
    0x26: "up",
    0x27: "right",
    0x28: "down",
    0x2D: "insert",
    0x2E: "delete",
    **{0x70 + number: f"f{number + 1}" for number in range(12)},
}

MACOS = {
    0xF700: "up",
    0xF701: "down",
    0xF702: "left",
    0xF703: "right",
    0xF727: "insert",
    0xF728: "delete",
    0xF729: "home",
    0xF72B: "end",
    0xF72C: "pgup",
    0xF72D: "pgdn",
    **{0xF704 + number: f"f{number + 1}" for number in range(12)},
}

CONTROL = {3: "enter", 8: "backspace", 9: "tab", 10: "enter", 13: "enter", 27: "esc", 32: "space"}
CONTROL |= {11: "backtab", 25: "backtab"}  # Shift+Tab in Qt and in macOS
X11[0xFE20] = "backtab"  # ISO_Left_Tab in GTK
CONTROL_ALT = 0xC0000  # GTK's modifier bits of shortcuts that are not ours, such as Ctrl+S
DELETE = 127  # what macOS sends for the backspace key


def key_name(code: int) -> str | None:
    """The name of a key, or its character if it has one; None for no key or an unnamed one.

    Parameters
    ----------
    code
        As returned by ``cv2.waitKeyEx``; -1 if no key was pressed.
    """
    if code < 0:
        return None
    low = code & 0xFFFF
    if not low:
        return WINDOWS.get(code >> 16)
    if code & CONTROL_ALT:
        return None
    if low in X11 or low in MACOS:
        return X11.get(low) or MACOS.get(low)
    if low == DELETE:
        return "backspace"
    return CONTROL.get(low) or (chr(low) if 32 < low < 127 else None)


SHIFT_KEYS = (0xFFE1, 0xFFE2)  # keysyms, left and right
SHIFT, LOCK = 1 << 0, 1 << 1  # bits of X11's modifier mask (X11/X.h)


class Shift:
    """Restores the case of letters if OpenCV has lost it.

    Used on the window's thread.
    """

    def __init__(self) -> None:
        import cv2

        self._x11: Any = None
        self._display: int | None = None
        self._pressed = False
        if sys.platform.startswith("linux") and cv2.currentUIFramework().startswith("QT"):
            self._connect()

    def apply(self, code: int, key: str | None) -> str | None:
        """A key's name with its case restored; must be called for every code received."""
        pressed, self._pressed = self._pressed, code in SHIFT_KEYS
        if self._display is None or key is None or len(key) > 1 or not key.isalpha():
            return key
        mask = self._mask()
        # A fast typist may have released Shift already; then its own code arrived just before.
        capital = (pressed or bool(mask & SHIFT)) != bool(mask & LOCK)
        return key.upper() if capital else key.lower()

    def close(self) -> None:
        """Close the connection to the X server."""
        if self._display is not None:
            self._x11.XCloseDisplay(self._display)
            self._display = None

    def _connect(self) -> None:
        try:
            x11 = ctypes.CDLL("libX11.so.6")
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
        """The current modifier mask: Shift, Lock and others."""
        root = self._x11.XDefaultRootWindow(self._display)
        windows = [ctypes.c_ulong() for _ in range(2)]
        places = [ctypes.c_int() for _ in range(4)]
        mask = ctypes.c_uint()
        answers = [ctypes.byref(answer) for answer in (*windows, *places, mask)]
        self._x11.XQueryPointer(self._display, root, *answers)
        return mask.value

"""Names of keys: ``code of cv2.waitKeyEx -> "a", "left", "pgup", ...`` on every system.

The codes are not OpenCV's but those of whatever draws its windows:

- Qt and GTK (Linux) give ASCII, and for keys without a character X11's keysyms, 0xff00 and above
  (``X11/keysymdef.h``); GTK adds the modifiers' bits from 0x10000 on.
- Windows gives ASCII, and for other keys their virtual key code times 65536 (``WinUser.h``).
- macOS gives ASCII, and for other keys AppKit's function keys, 0xf700 and above (``NSEvent.h``).

Qt gives small letters whatever Shift does, as was tried with opencv-python 5.0 on X11;
`deepvis_caffe.viewer.shift` mends that where it can. So no action may need a capital.
"""

from __future__ import annotations

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
    # The number pad with its lock off, and its enter.
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
# With its lock on: the characters, 0xffb0 is 0.
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
CONTROL |= {11: "backtab", 25: "backtab"}  # Shift and tab: Qt's, macOS's
X11[0xFE20] = "backtab"  # ISO_Left_Tab, GTK's
CONTROL_ALT = 0xC0000  # GTK's bits of keys that are the window system's, as Ctrl and s
DELETE = 127  # what macOS gives for the backspace key


def key_name(code: int) -> str | None:
    """The name of a key, its character where it has one; None where there is no key or no name.

    Parameters
    ----------
    code
        As ``cv2.waitKeyEx`` gives it; -1 where no key was pressed.
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

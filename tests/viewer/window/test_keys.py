"""Key codes of each system, as they were seen or as its headers have them, and their names."""

from __future__ import annotations

import pytest

from deepvis_caffe.viewer.state.actions import BY_KEY
from deepvis_caffe.viewer.window.keys import Shift, key_name

# Seen with opencv-python's Qt windows under Xvfb, the keys pressed by xdotool.
QT = {
    97: "a",
    63: "?",
    48: "0",
    43: "+",
    65361: "left",
    65362: "up",
    65363: "right",
    65364: "down",
    27: "esc",
    65365: "pgup",
    65366: "pgdn",
    65360: "home",
    65367: "end",
    32: "space",
    9: "tab",
    13: "enter",
    65470: "f1",
    8: "backspace",
    65535: "delete",
    65430: "left",  # the number pad's, its lock off
    53: "5",
    65379: "insert",
    11: "backtab",
}
# X11's keysyms with GDK's modifier bits: Shift 1, Control 4, NumLock 16, times 65536.
GTK = {0x10000 + 65: "A", 0x100000 + 97: "a", 0x110000 + 84: "T", 0x100000 + 0xFF52: "up"}
GTK |= {0xFFB5: "5", 0xFFAB: "+", 0x100000 + 0xFF1B: "esc"}
# VK_LEFT 0x25 .. VK_DOWN 0x28, VK_PRIOR 0x21, VK_F1 0x70
WINDOWS = {2424832: "left", 2490368: "up", 2555904: "right", 2621440: "down"}
WINDOWS |= {2162688: "pgup", 7340032: "f1", 84: "T"}
# NSUpArrowFunctionKey 0xF700 and so on
MACOS = {63232: "up", 63233: "down", 63234: "left", 63235: "right", 63276: "pgup", 127: "backspace"}


@pytest.mark.parametrize("codes", [QT, GTK, WINDOWS, MACOS], ids=["qt", "gtk", "windows", "macos"])
def test_names(codes: dict[int, str]) -> None:
    assert {code: key_name(code) for code in codes} == codes


@pytest.mark.parametrize("code", [-1, 0, 0xFFE1, 0x100000 + 0xFFE1, 0x10 << 16, 0x140073, 0x180062])
def test_no_key_and_shift_alone_have_no_name(code: int) -> None:
    assert key_name(code) is None


def test_every_key_of_an_action_can_be_pressed() -> None:
    for codes in (range(0x10000), range(0, 0x7FFFFFFF, 0x10000)):  # Qt's and GTK's, Windows'
        names = {key_name(code) for code in codes}
        characters = {"esc", "enter", "backspace", "space"}  # ASCII's, on Windows, too
        assert {key for key in BY_KEY if len(key) > 1} - characters <= names
    assert "esc" in {key_name(code) for code in range(128)}


def test_no_action_needs_a_capital() -> None:
    names: dict[str, list[str]] = {}
    for key, action in BY_KEY.items():
        names.setdefault(action.name, []).append(key)
    assert [name for name, keys in names.items() if all(key.isupper() for key in keys)] == []


class Mask(Shift):
    """Shift and the lock as a test sets them; no X server."""

    def __init__(self, mask: int) -> None:
        self._display, self._pressed, self._set = 1, False, mask

    def _mask(self) -> int:
        return self._set


@pytest.mark.parametrize(
    ("mask", "expected"), [(0, "a"), (1, "A"), (2, "A"), (3, "a"), (16, "a"), (17, "A")]
)
def test_letters_get_their_case_from_shift_and_lock(mask: int, expected: str) -> None:
    shift = Mask(mask)
    assert shift.apply(97, "a") == expected
    assert shift.apply(65361, "left") == "left"
    assert shift.apply(63, "?") == "?"
    assert shift.apply(0, None) is None


def test_shift_that_was_let_go_of_at_once() -> None:
    shift = Mask(0)
    assert shift.apply(65505, None) is None
    assert shift.apply(97, "a") == "A"
    assert shift.apply(97, "a") == "a"

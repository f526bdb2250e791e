"""Keys and mouse of a window: in their order, none lost, and a drawing gives way once."""

from __future__ import annotations

import pytest

from deepvis_caffe.viewer.window import window as inbox_module
from deepvis_caffe.viewer.window.window import Inbox

pytestmark = pytest.mark.process


class Loop:
    """OpenCV's event loop: it keeps the last key typed between two looks, as the real one does."""

    EVENT_MOUSEMOVE, EVENT_LBUTTONDOWN, EVENT_RBUTTONDOWN = 0, 1, 2
    EVENT_MOUSEWHEEL, EVENT_MOUSEHWHEEL = 10, 11

    def __init__(self) -> None:
        self._last, self.waits = -1, list[int]()

    def currentUIFramework(self) -> str:
        return "none"

    def type(self, key: str) -> None:
        self._last = ord(key)

    def waitKeyEx(self, wait: int) -> int:
        self.waits.append(wait)
        code, self._last = self._last, -1
        return code


class Told:
    """A session that remembers what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[tuple] = []
        self.running = True

        class Session:
            @staticmethod
            def press(told: Told, key: str) -> None:
                told.heard.append((key,))
                told.running = key != "q"

            @staticmethod
            def mouse(told: Told, kind: str, y: int, x: int, steps: int) -> None:
                told.heard.append((kind, y, x, steps))

        monkeypatch.setattr(inbox_module, "Session", Session)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(inbox_module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_what_comes_is_told_in_its_order(told: Told, clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)
    loop.type("a")
    inbox.look(8)
    inbox.on_mouse(loop.EVENT_MOUSEMOVE, 7, 3, 0, None)
    inbox.on_mouse(loop.EVENT_RBUTTONDOWN, 7, 3, 0, None)
    inbox.on_mouse(loop.EVENT_LBUTTONDOWN, 7, 4, 0, None)
    inbox.on_mouse(loop.EVENT_MOUSEWHEEL, 8, 4, 120 << 16, None)
    inbox.on_mouse(loop.EVENT_MOUSEHWHEEL, 9, 4, -120 << 16, None)
    loop.type("b")
    inbox.look(8)
    assert told.heard == []
    inbox.deliver(told)
    wheel = [("wheel", 4, 8, -1), ("wheel", 4, 9, 1)]
    assert told.heard == [("a",), ("move", 3, 7, 0), ("click", 4, 7, 0), *wheel, ("b",)]
    inbox.deliver(told)
    assert len(told.heard) == 6


def test_keys_typed_while_a_picture_is_drawn_are_kept(told: Told, clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)
    inbox.look(8)
    for key in "abcde":  # a pane takes 10 ms, and there is a key in each
        clock[0] += 0.010
        loop.type(key)
        inbox.interrupts()
    inbox.deliver(told)
    assert told.heard == [(key,) for key in "abcde"]


def test_between_panes_that_take_no_time_nobody_looks(clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)
    inbox.look(8)
    for _ in range(5):
        clock[0] += 0.0005
        inbox.interrupts()
    assert loop.waits == [8]


def test_a_key_ends_a_drawing_but_not_two_in_a_row(told: Told, clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)

    def asked(key: str) -> bool:
        clock[0] += 1
        loop.type(key)
        said = inbox.interrupts()
        assert inbox.urgent
        inbox.deliver(told)
        assert not inbox.urgent
        return said

    assert [asked("a"), asked("b"), asked("c")] == [True, False, False]
    inbox.shown()
    assert [asked("d"), asked("e")] == [True, False]


def test_moves_of_the_mouse_end_no_drawing_and_clicks_do(clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)
    inbox.on_mouse(loop.EVENT_MOUSEMOVE, 7, 3, 0, None)
    assert not inbox.interrupts()
    inbox.on_mouse(loop.EVENT_LBUTTONDOWN, 7, 3, 0, None)
    assert inbox.interrupts()


def test_after_the_end_nobody_is_told(told: Told, clock: list[float]) -> None:
    loop = Loop()
    inbox = Inbox(loop)
    for key in "aqb":
        loop.type(key)
        inbox.look(8)
    inbox.deliver(told)
    assert told.heard == [("a",), ("q",)]

"""Keys and mouse of OpenCV's window, none of them lost and none of them waiting for a drawing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from deepvis_caffe.viewer.keys import key_name
from deepvis_caffe.viewer.mouse import MouseKind
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.shift import Shift

BETWEEN = 0.004  # seconds of drawing between two looks for keys


class Inbox:
    """Keys and mouse in their order, from OpenCV's event loop until a session takes them.

    OpenCV keeps one key between two looks, and drawing everything takes longer than typists do
    between two keys: so there is a look between panes too. What comes then ends the drawing, which
    is out of date by that; but not two drawings in a row, or who holds a key would see nothing.

    Parameters
    ----------
    cv2
        The module.

    Attributes
    ----------
    urgent
        Whether there is more than moves of the mouse.
    """

    def __init__(self, cv2: Any) -> None:
        self._cv2, self._shift = cv2, Shift()
        self._events: list[Callable[[Session], None]] = []
        self.urgent = False
        self._looked, self._interrupted = 0.0, False

    def look(self, wait: int) -> None:
        """Give the event loop so many ms, or until there is a key; then all that were typed."""
        code = self._cv2.waitKeyEx(wait)
        while code != -1:
            key = self._shift.apply(code, key_name(code))
            if key is not None:
                self._events.append(partial(Session.press, key=key))
                self.urgent = True
            code = self._cv2.waitKeyEx(1)
        self._looked = time.monotonic()

    def interrupts(self) -> bool:
        """Look, if the last time was long ago; whether the picture that is drawn is out of date."""
        if time.monotonic() - self._looked > BETWEEN:
            self.look(1)
        if not self.urgent or self._interrupted:
            return False
        self._interrupted = True
        return True

    def shown(self) -> None:
        """Say that a drawing came to its end."""
        self._interrupted = False

    def deliver(self, session: Session) -> None:
        """Let the session have everything that came."""
        events, self._events, self.urgent = self._events, [], False
        for event in events:
            if session.running:
                event(session)

    def on_mouse(self, event: int, x: int, y: int, flags: int, _: Any) -> None:
        """Take what OpenCV tells: pixels of the picture, however the window stretches it."""
        kind: MouseKind
        steps = 0
        if event == self._cv2.EVENT_MOUSEMOVE:
            kind = "move"
        elif event == self._cv2.EVENT_LBUTTONDOWN:
            kind = "click"
        elif event in (self._cv2.EVENT_MOUSEWHEEL, self._cv2.EVENT_MOUSEHWHEEL):
            kind = "wheel"
            steps = -1 if flags >> 16 > 0 else 1  # signed, away from the user is positive
        else:
            return
        self._events.append(partial(Session.mouse, kind=kind, y=y, x=x, steps=steps))
        self.urgent |= kind != "move"

    def close(self) -> None:
        """End what was opened."""
        self._shift.close()

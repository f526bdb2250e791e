"""The viewer in an OpenCV window: event loop, keys and mouse, and window size."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from deepvis_caffe.errors import ViewerError
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.state.mouse import MouseKind
from deepvis_caffe.viewer.window.display import check_display, is_open
from deepvis_caffe.viewer.window.keys import Shift, key_name

WAIT = 4  # ms that OpenCV's event loop runs between redraws, unless there is news already
BETWEEN = 0.004  # seconds of drawing between polls for keys
SETTLED = 0.15  # seconds; debounce time of a new window size


def run_window(session: Session) -> None:
    """Show a session in a window until the user quits, closes the window or presses Ctrl-C.

    Raises
    ------
    ViewerError
        There is no screen to show it on.
    """
    check_display()
    import cv2

    name = "deepvis"
    try:
        cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        raise ViewerError(
            f"OpenCV cannot open a window: {error}. The viewer runs without one: deepvis view "
            "--browser"
        ) from error
    shown, size, inbox = 0, _Size(session), Inbox(cv2)
    try:
        _, picture = session.draw()
        cv2.resizeWindow(name, picture.shape[1], picture.shape[0])
        cv2.setWindowTitle(name, session.title)
        cv2.setMouseCallback(name, inbox.on_mouse)
        while session.running:
            number, picture = session.draw(inbox.interrupts)
            if number != shown:
                shown = number
                cv2.imshow(name, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
                inbox.shown()
            inbox.look(1 if inbox.urgent or session.wake.is_set() else WAIT)
            inbox.deliver(session)
            if not is_open(name):
                break
            size.follow(cv2.getWindowImageRect(name))
    finally:
        inbox.close()
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # the event loop closes the windows


class Inbox:
    """Queues key and mouse events of OpenCV's event loop for the session.

    OpenCV keeps only one key between polls, and a full redraw takes longer than a fast typist needs
    for a key. So the loop is also polled between panes. A key interrupts the redraw, which is then
    out of date, but never two redraws in a row, or nothing would be shown while a key is held.

    Parameters
    ----------
    cv2
        The module.

    Attributes
    ----------
    urgent
        Whether the queue holds anything other than mouse moves.
    """

    def __init__(self, cv2: Any) -> None:
        self._cv2, self._shift = cv2, Shift()
        self._events: list[Callable[[Session], None]] = []
        self.urgent = False
        self._looked, self._interrupted = 0.0, False

    def look(self, wait: int) -> None:
        """Run the event loop for `wait` ms or until a key arrives; queue all keys typed."""
        code = self._cv2.waitKeyEx(wait)
        while code != -1:
            key = self._shift.apply(code, key_name(code))
            if key is not None:
                self._events.append(partial(Session.press, key=key))
                self.urgent = True
            code = self._cv2.waitKeyEx(1)
        self._looked = time.monotonic()

    def interrupts(self) -> bool:
        """Poll if the last poll is long ago; return whether to interrupt the redraw."""
        if time.monotonic() - self._looked > BETWEEN:
            self.look(1)
        if not self.urgent or self._interrupted:
            return False
        self._interrupted = True
        return True

    def shown(self) -> None:
        """Note that a redraw was completed and shown."""
        self._interrupted = False

    def deliver(self, session: Session) -> None:
        """Pass all queued events to the session."""
        events, self._events, self.urgent = self._events, [], False
        for event in events:
            if session.running:
                event(session)

    def on_mouse(self, event: int, x: int, y: int, flags: int, _: Any) -> None:
        """OpenCV's callback; x and y are pixels of the picture, even if the window scales it."""
        kind: MouseKind
        steps = 0
        if event == self._cv2.EVENT_MOUSEMOVE:
            kind = "move"
        elif event == self._cv2.EVENT_LBUTTONDOWN:
            kind = "click"
        elif event in (self._cv2.EVENT_MOUSEWHEEL, self._cv2.EVENT_MOUSEHWHEEL):
            kind = "wheel"
            steps = -1 if flags >> 16 > 0 else 1  # signed; positive is away from the user
        else:
            return
        self._events.append(partial(Session.mouse, kind=kind, y=y, x=x, steps=steps))
        self.urgent |= kind != "move"

    def close(self) -> None:
        """Close the connection to the X server, if any."""
        self._shift.close()


class _Size:
    """Resizes the session with the window, debounced."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size, self._since = (0, 0), 0.0

    def follow(self, rectangle: Sequence[int]) -> None:
        width, height = rectangle[2:]
        if width < 1 or height < 1:
            return
        now = time.monotonic()
        if (width, height) != self._size:
            self._size, self._since = (width, height), now
        elif self._since and now - self._since > SETTLED:
            self._since = 0.0
            self._session.resize(width, height)

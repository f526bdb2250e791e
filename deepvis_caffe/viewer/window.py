"""The session in a window of OpenCV's: the only file that knows ``cv2.imshow``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.viewer.display import check_display, is_open
from deepvis_caffe.viewer.inbox import Inbox
from deepvis_caffe.viewer.session import Session

WAIT = 8  # ms that OpenCV's event loop gets between two looks for something new
SETTLED = 0.15  # seconds that a window's new size must hold before it is drawn for


def run_window(session: Session) -> None:
    """Show a session in a window until somebody quits, closes the window or presses Ctrl-C.

    Raises
    ------
    DeepVisError
        There is no screen to show it on.
    """
    check_display()
    import cv2

    name = "deepvis"
    try:
        cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
    except cv2.error as error:
        raise DeepVisError(
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
            inbox.look(1 if inbox.urgent else WAIT)
            inbox.deliver(session)
            if not is_open(name):
                break
            size.follow(cv2.getWindowImageRect(name))
    finally:
        inbox.close()
        cv2.destroyAllWindows()
        cv2.waitKey(1)  # windows close in the event loop


class _Size:
    """The window's size, followed once it holds still; where its pixels are in the picture."""

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

"""The session in a window of OpenCV's: the only file that knows ``cv2.imshow``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.viewer.display import check_display, is_open
from deepvis_caffe.viewer.keys import key_name
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.shift import Shift

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
    shown, size, shift = 0, _Size(session), Shift()
    try:
        _, picture = session.draw()
        cv2.resizeWindow(name, picture.shape[1], picture.shape[0])
        cv2.setWindowTitle(name, session.title)
        cv2.setMouseCallback(name, _mouse(session, cv2, size))
        while session.running:
            number, picture = session.draw()
            if number != shown:
                shown = number
                cv2.imshow(name, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            code = cv2.waitKeyEx(WAIT)
            while code != -1 and session.running:  # all that were typed, then one picture
                key = shift.apply(code, key_name(code))
                if key is not None:
                    session.press(key)
                code = cv2.waitKeyEx(1)
            if not is_open(name):
                break
            size.follow(cv2.getWindowImageRect(name))
    finally:
        shift.close()
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


def _mouse(session: Session, cv2: Any, size: _Size) -> Any:
    def on_mouse(event: int, x: int, y: int, flags: int, _: Any) -> None:
        # OpenCV gives pixels of the picture, however the window stretches it.
        if event == cv2.EVENT_MOUSEMOVE:
            session.mouse("move", y, x)
        elif event == cv2.EVENT_LBUTTONDOWN:
            session.mouse("click", y, x)
        elif event in (cv2.EVENT_MOUSEWHEEL, cv2.EVENT_MOUSEHWHEEL):
            turned = flags >> 16  # signed, the wheel's turn away from the user is positive
            session.mouse("wheel", y, x, -1 if turned > 0 else 1)

    return on_mouse

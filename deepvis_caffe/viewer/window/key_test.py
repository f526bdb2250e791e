"""A window for testing which code this machine sends for each key."""

from __future__ import annotations

from collections.abc import Callable

from deepvis_caffe.viewer.state.actions import BY_KEY
from deepvis_caffe.viewer.window.display import check_display, is_open
from deepvis_caffe.viewer.window.keys import Shift, key_name

WAIT = 30  # ms between polls


def run_key_test(say: Callable[[str], None]) -> None:
    """Report code, name and action of each key pressed, until q, Esc or the window is closed.

    Raises
    ------
    DisplayError
        There is no screen.
    """
    check_display()
    import cv2
    import numpy as np

    title = "deepvis: press keys"
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
    shift = Shift()
    try:
        page = np.full((160, 480, 3), 24, np.uint8)
        for line, text in enumerate(("Press keys in this window.", "q or Esc ends.")):
            at = (20, 60 + 40 * line)
            cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (230, 230, 230), 1)
        cv2.imshow(title, page)
        cv2.resizeWindow(title, page.shape[1], page.shape[0])
        cv2.waitKey(WAIT)  # lets the window open
        while is_open(title):
            code = cv2.waitKeyEx(WAIT)
            if code == -1:
                continue
            name = shift.apply(code, key_name(code))
            action = BY_KEY.get(name or "")
            say(f"{code:>9}  {name or 'no name':10}{action.help if action else ''}".rstrip())
            if name in ("q", "esc"):
                break
    finally:
        shift.close()
        cv2.destroyAllWindows()
        cv2.waitKey(1)

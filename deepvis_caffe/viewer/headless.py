"""The viewer without a window: pictures of what it would show, written to files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from deepvis_caffe.errors import ViewerError
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.viewer.session import Session

LONGEST = 120.0  # seconds that one picture may take


def run_headless(
    session: Session, frames: int, folder: Path, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write what the window would show for each of the next `frames` frames of the source.

    A camera or video gives one picture for each new frame; images are stepped through one by one.

    Returns
    -------
    list of Path
        ``frame_0001.png`` and so on.

    Raises
    ------
    ViewerError
        No picture came within two minutes; the message is that of the source or the net.
    """
    written: list[Path] = []
    last = -1
    for number in range(1, frames + 1):
        last, picture = _wait(session, last)
        written.append(write_image(folder / f"frame_{number:04d}.png", picture))
        if progress:
            progress(number, frames)
        if number < frames and not session.live:
            session.act("next_image")
    return written


def _wait(session: Session, last: int) -> tuple[int, Picture]:
    """Wait until another frame than `last` is on the picture, whole; its number and the picture."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        session.wake.wait(0.05)
        session.draw()
        if session.settled and not session.reading:
            # With all that was read since. A live source may have gone on, too: the number is that
            # of this picture, or the next wait would take the same frame for another.
            _, picture = session.draw()
            shown = session.shown
            if session.settled and shown is not None and shown != last:
                return shown, picture
        if session.trouble:
            break
    raise ViewerError(session.trouble or f"no frame came within {LONGEST:g} seconds")

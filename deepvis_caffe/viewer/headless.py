"""The viewer without a window: pictures of what it would show, written to files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from deepvis_caffe.errors import ViewerError
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.viewer.session import Session

LONGEST = 120.0  # seconds; timeout of one picture


def run_headless(
    session: Session, frames: int, folder: Path, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write what the window would show for each of the next `frames` frames of the source.

    For a camera or video, one picture is written per new frame; images are stepped through.

    Returns
    -------
    list of Path
        ``frame_0001.png`` and so on.

    Raises
    ------
    ViewerError
        There was no picture within two minutes; the message is from the source or the net.
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
    """Wait for a complete picture of a frame other than `last`; return frame number and picture."""
    until = time.monotonic() + LONGEST
    while time.monotonic() < until:
        session.wake.wait(0.05)
        session.draw()
        if session.settled and not session.reading:
            # Redraw with what was read meanwhile. A live source may have advanced, too, so take the
            # number of this picture, or the next wait would mistake the same frame for a new one.
            _, picture = session.draw()
            shown = session.shown
            if session.settled and shown is not None and shown != last:
                return shown, picture
        if session.trouble:
            break
    raise ViewerError(session.trouble or f"no frame came within {LONGEST:g} seconds")

"""The viewer's palette and color tables."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]  # RGB
Table = NDArray[np.uint8]  # (256, 3), RGB

GROUND: Color = (13, 15, 18)  # between panes
PANEL: Color = (22, 25, 30)  # a pane
WELL: Color = (13, 15, 18)  # behind pictures and graphs in a pane
EMPTY: Color = (29, 33, 39)  # the cell of a unit without a picture
RAISED: Color = (37, 42, 50)  # chips, tracks of bars
LINE: Color = (52, 58, 68)

TEXT: Color = (232, 234, 238)
SOFT: Color = (164, 172, 184)
FAINT: Color = (107, 115, 128)

ACCENT: Color = (255, 184, 77)  # the selection
ACCENT_DIM: Color = (92, 70, 38)
SOURCE: Color = (64, 214, 190)  # where the backward pass starts
TROUBLE: Color = (255, 107, 107)
BROKEN: Color = (255, 0, 170)  # a non-finite value

# A detector's boxes, by class.
BOXES: tuple[Color, ...] = (
    *(ACCENT, SOURCE, (255, 107, 107), (120, 170, 255)),
    *((190, 140, 255), (150, 220, 90), (255, 150, 210), (230, 230, 120)),
)

NEGATIVE: Color = (64, 150, 255)
POSITIVE: Color = (255, 112, 48)


@cache
def table(name: str) -> Table:
    """The 256 colors of one of ``state.COLORMAPS``, from the smallest value to the largest."""
    levels = np.arange(256, dtype=np.uint8)
    if name == "gray":
        colors = np.repeat(levels[:, np.newaxis], 3, axis=1)
    else:
        import cv2

        code = getattr(cv2, f"COLORMAP_{name.upper()}")
        colors = np.ascontiguousarray(cv2.applyColorMap(levels[np.newaxis], code)[0, :, ::-1])
    return _fixed(colors)


@cache
def signed_table() -> Table:
    """Colors of signed values: black at 128, `NEGATIVE` at 1, `POSITIVE` at 255."""
    share = (np.arange(256) - 128) / 127
    ends = np.where(share[:, np.newaxis] < 0, NEGATIVE, POSITIVE)
    return _fixed(np.rint(ends * np.clip(abs(share), 0, 1)[:, np.newaxis]).astype(np.uint8))


def _fixed(colors: Table) -> Table:
    colors.flags.writeable = False
    return colors

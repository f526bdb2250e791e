"""Which of a result's values panes show, for the state as it is now.

Stacked like that, one call of OpenCV shrinks all of them, and since a cell has a whole number of
pixels none runs into the next. Where pixels grow they stay squares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.image import Floats
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.compute.request import Result
from deepvis_caffe.viewer.panes.colors import BROKEN, signed_table, table
from deepvis_caffe.viewer.state.state import COLORMAPS, GAMMAS, INDIVIDUALS, State
from deepvis_caffe.viewer.state.view import View

Levels = NDArray[np.uint8]

ROOT = 0.5  # exponent of diffs, before the boost's: a few are far larger than all others
STEPS = 65535  # a power is looked up in a table this fine


_counts: ByIdentity[int] = ByIdentity(2)  # a layer's maps, which several panes ask about


class Boost(NamedTuple):
    """How values become colours.

    Attributes
    ----------
    gamma
        Exponent of what lies between 0 and 1.
    individual
        How far each map's own range replaces that of them all, 0 to 1.
    colormap
        One of ``state.COLORMAPS``.
    signed
        Whether 0 is black, and the two signs have a colour each. Then the exponent is of the size,
        and takes its root first.
    """

    gamma: float = 1.0
    individual: float = 0.0
    colormap: str = "gray"
    signed: bool = False


def boost_of(state: State, signed: bool = False) -> Boost:
    """The boost that a state is set to."""
    return Boost(
        GAMMAS[state.gamma % len(GAMMAS)],
        INDIVIDUALS[state.individual % len(INDIVIDUALS)],
        COLORMAPS[state.colormap % len(COLORMAPS)],
        signed,
    )


def broken(maps: Floats) -> int:
    """How many values are infinite or no numbers; counted once for each array."""
    return _counts.get(maps, None, lambda: _broken(maps))


def _broken(maps: Floats) -> int:
    return int(maps.size - np.count_nonzero(np.isfinite(maps)))


def ranges(maps: Floats, individual: float, signed: bool) -> tuple[Floats, Floats]:
    """The lowest and the highest value that colours tell apart, for each map, (N, 1, 1) each.

    ``low = (1 - individual) * min(all) + individual * min(map)``, and so on; about 0 where signed.
    """
    flat = maps.reshape(len(maps), -1)
    own_low, own_high = flat.min(axis=1), flat.max(axis=1)
    if signed:
        own_high = np.maximum(np.abs(own_low), np.abs(own_high))
        own_low = -own_high
    own = individual if maps.shape[1:] != (1, 1) else 0.0  # one number has no range of its own
    low = (1 - own) * own_low.min(initial=np.inf) + own * own_low
    high = (1 - own) * own_high.max(initial=-np.inf) + own * own_high
    shape = (len(maps), 1, 1)
    return low.astype(np.float32).reshape(shape), high.astype(np.float32).reshape(shape)


def colour_maps(maps: Floats, height: int, width: int, boost: Boost) -> Levels:
    """Colour maps and bring each to a cell's size.

    Parameters
    ----------
    maps
        (N, h, w).
    height, width
        Pixels of one cell, at least 1.

    Returns
    -------
    ndarray
        (N * height, width, 3), RGB. Values that are no numbers are `BROKEN`.
    """
    if not len(maps):
        return np.zeros((0, width, 3), np.uint8)
    good = _broken(maps) == 0
    bad = None if good else ~np.isfinite(maps)
    if bad is not None:
        maps = np.where(bad, 0, maps) if bad.all() else np.where(bad, maps[~bad].min(), maps)
    low, high = ranges(maps, boost.individual, boost.signed)
    maps = _shrunk(np.ascontiguousarray(maps, np.float32), height, width)
    stack = _enlarged(_levels(maps, low, high, boost), height, width)
    colours = _coloured(stack, signed_table() if boost.signed else table(boost.colormap))
    if bad is not None:
        marks = _shrunk(bad.astype(np.float32), height, width) > 0
        colours[_enlarged(marks.astype(np.uint8), height, width) > 0] = BROKEN
    return colours


def _shrunk(maps: Floats, height: int, width: int) -> Floats:
    """Average axes that are longer than a cell's; in floats, before anything is rounded."""
    import cv2

    count, rows, columns = maps.shape
    small = (min(rows, height), min(columns, width))
    if small == (rows, columns):
        return maps
    stack = cv2.resize(
        maps.reshape(-1, columns), (small[1], count * small[0]), interpolation=cv2.INTER_AREA
    )
    return np.asarray(stack, np.float32).reshape(count, *small)


def _enlarged(levels: Levels, height: int, width: int) -> Levels:
    """Axes that are shorter than a cell's in squares: (N, h, w) -> (N * height, width)."""
    rows, columns = levels.shape[1:]
    if columns != width:  # the pixel whose middle is nearest; OpenCV's own rounds, far down
        levels = np.take(levels, (2 * np.arange(width) + 1) * columns // (2 * width), axis=2)
    if rows != height:
        levels = np.take(levels, (2 * np.arange(height) + 1) * rows // (2 * height), axis=1)
    return levels.reshape(-1, width)


def _levels(maps: Floats, low: Floats, high: Floats, boost: Boost) -> Levels:
    """Values as 0 to 255; signed ones as 1 to 255 about 128."""
    if boost.signed:
        share = np.abs(maps / np.where(high > 0, high, 1))
        steps = np.rint(np.clip(share, 0, 1) * STEPS).astype(np.uint16)
        sizes = _powers(ROOT * boost.gamma, 127)[steps].astype(np.int16)
        return (128 + np.where(maps < 0, -sizes, sizes)).astype(np.uint8)
    span = np.where(high > low, high - low, 1)
    factor = np.where(high > low, (255 if boost.gamma == 1 else STEPS) / span, 0)
    scaled = maps - low
    scaled *= factor.astype(np.float32)
    scaled += np.float32(0.5)  # the cast below cuts
    if boost.gamma == 1:
        return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    steps = np.clip(scaled, 0, STEPS, out=scaled).astype(np.uint16)
    return _powers(boost.gamma, 255)[steps]


@lru_cache(maxsize=8)
def _powers(gamma: float, top: int) -> Levels:
    return np.rint(top * (np.arange(STEPS + 1) / STEPS) ** gamma).astype(np.uint8)


def _coloured(levels: Levels, colours: NDArray[np.uint8]) -> Levels:
    import cv2

    lookup = np.ascontiguousarray(colours[:, np.newaxis])
    return np.asarray(cv2.LUT(cv2.merge([levels] * 3), lookup), np.uint8)


def shown_maps(view: View) -> Floats | None:
    """The selected layer's activations, or its diffs where these are set; None until they come."""
    current = view.current
    if current is None:
        return None
    if shows_diffs(view):
        return current.diffs if _back_fits(view, current) else None
    return current.maps


def shows_diffs(view: View) -> bool:
    """Whether the grid is set to diffs, and there is a pass that gives some."""
    return view.state.show_back and view.state.back != "off"


def input_diff(view: View) -> Floats | None:
    """The input's diff, if it is of the pass that is set now."""
    result = view.result
    return result.back if result is not None and _back_fits(view, result) else None


def _back_fits(view: View, result: Result) -> bool:
    request, state = result.request, view.state
    return state.back != "off" and (request.back, request.source) == (state.back, state.back_source)

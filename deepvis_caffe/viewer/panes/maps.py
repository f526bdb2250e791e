"""Pictures of values: the feature maps of a layer's units, and saliency maps at the input.

Maps are processed as one tall stack, (N * height, width), so that a single OpenCV call shrinks all
of them; they do not bleed into each other, since a cell has a whole number of pixels. Enlarged
pixels stay square (nearest neighbor).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.pictures import map_overlay, map_picture
from deepvis_caffe.image import Floats, Picture, resize_image
from deepvis_caffe.viewer.panes.colors import BROKEN, signed_table, table
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.state.state import COLORMAPS, GAMMAS, INDIVIDUALS, State

Levels = NDArray[np.uint8]

ROOT = 0.7  # exponent of diffs, times the boost's, because a few are far larger than the others
STEPS = 65535  # resolution of the lookup table for powers
# A layer's few outliers would take up most of the color scale, so the scale is clipped.
LOWEST, HIGHEST = 0.5, 99.5  # percentiles
SAMPLED = 1 << 16  # about how many values the percentiles are computed from


class Boost(NamedTuple):
    """How values are mapped to colors.

    Attributes
    ----------
    gamma
        Exponent of values scaled to 0 to 1.
    individual
        How far each map's own range replaces the layer's, 0 to 1.
    colormap
        One of ``state.COLORMAPS``.
    signed
        Whether 0 is black and each sign has a color. The exponent of the magnitude is then
        ``ROOT * gamma``.
    """

    gamma: float = 1.0
    individual: float = 0.0
    colormap: str = "gray"
    signed: bool = False


def boost_of(state: State, signed: bool = False, numbers: bool = False) -> Boost:
    """The boost for a state. The initial gamma applies to maps only; that of numbers is 1."""
    individual = INDIVIDUALS[state.individual % len(INDIVIDUALS)]
    gamma = 1.0 if numbers and not state.gamma else _gamma(state)
    return Boost(gamma, individual, _colormap(state), signed)


def boost_alone(state: State, signed: bool = False) -> Boost:
    """The boost for a map shown alone: it always has its own range."""
    return Boost(_gamma(state), 1.0, _colormap(state), signed)


def _gamma(state: State) -> float:
    return GAMMAS[state.gamma % len(GAMMAS)]


def _colormap(state: State) -> str:
    return COLORMAPS[state.colormap % len(COLORMAPS)]


def ranges(
    maps: Floats, individual: float, signed: bool, layer: Floats | None = None
) -> tuple[Floats, Floats]:
    """The ends of each map's color scale, (lowest, highest), (N, 1, 1) each.

    ``low = (1 - individual) * lowest(layer) + individual * min(map)``, and likewise for the
    highest; symmetric about 0 if signed. `layer` holds all maps of the layer if `maps` are only
    some of them.
    """
    all_low, all_high = common_range(maps if layer is None else layer, signed)
    low, high = (np.full((len(maps), 1, 1), end, np.float32) for end in (all_low, all_high))
    if individual and maps.shape[1:] != (1, 1):  # a single number has no range
        own_low, own_high = maps.min(axis=(1, 2)), maps.max(axis=(1, 2))
        if signed:
            own_high = np.maximum(np.abs(own_low), np.abs(own_high))
            own_low = -own_high
        low[:, 0, 0] = (1 - individual) * all_low + individual * own_low
        high[:, 0, 0] = (1 - individual) * all_high + individual * own_high
    return low, high


def common_range(maps: Floats, signed: bool = False) -> tuple[float, float]:
    """The range of a layer's color scale: percentiles of its values, or minimum and maximum if its
    units are single numbers.

    The upper percentile is taken over the values above the lower one, because after a ReLU about
    half of all values are 0.
    """
    numbers, every = maps.shape[1:] == (1, 1), maps.reshape(-1)
    values = _finite_of(every if numbers else every[:: (every.size // SAMPLED) | 1])
    if not values.size:  # perhaps only the sample has no finite values
        values = _finite_of(every)
    if not values.size:
        return 0.0, 0.0
    if numbers:  # no clipping: a class that stands out is what matters
        low, high = float(values.min()), float(values.max())
        return (-max(abs(low), abs(high)), max(abs(low), abs(high))) if signed else (low, high)
    values = np.sort(np.abs(values) if signed else values)  # four times as fast as np.percentile
    low = 0.0 if signed else float(values[math.floor(LOWEST / 100 * (values.size - 1))])
    above = values[np.searchsorted(values, low, "right") :]
    high = float(above[math.ceil(HIGHEST / 100 * (above.size - 1))]) if above.size else low
    return (-high, high) if signed else (low, high)


def _finite_of(values: Floats) -> Floats:
    good = np.isfinite(values)
    return values if good.all() else values[good]


def color_maps(
    maps: Floats, height: int, width: int, boost: Boost, layer: Floats | None = None
) -> Levels:
    """Color maps and resize each to a cell.

    Parameters
    ----------
    maps
        (N, h, w).
    height, width
        Size of a cell in pixels, at least 1.
    layer
        All maps of the layer, which determine the common color scale; `maps` by default.

    Returns
    -------
    ndarray
        (N * height, width, 3), RGB. Non-finite values have the color `BROKEN`.
    """
    if not len(maps):
        return np.zeros((0, width, 3), np.uint8)
    finite = np.isfinite(maps)
    bad = None if finite.all() else ~finite
    if bad is not None:
        maps = np.where(bad, 0, maps) if bad.all() else np.where(bad, maps[~bad].min(), maps)
    low, high = ranges(maps, boost.individual, boost.signed, layer)
    maps = _shrunk(np.ascontiguousarray(maps, np.float32), height, width)
    stack = _enlarged(_levels(maps, low, high, boost), height, width)
    colors = _colored(stack, signed_table() if boost.signed else table(boost.colormap))
    if bad is not None:
        marks = _shrunk(bad.astype(np.float32), height, width) > 0
        colors[_enlarged(marks.astype(np.uint8), height, width) > 0] = BROKEN
    return colors


def _shrunk(maps: Floats, height: int, width: int) -> Floats:
    """Average along axes longer than the cell's, in floats, before anything is rounded.

    By whole factors it takes means. The rest, by less than two, is bilinear: that weighs every
    value, too, and OpenCV's means over parts of pixels take six times as long.
    """
    import cv2

    count, rows, columns = maps.shape
    small = (min(rows, height), min(columns, width))
    whole = rows // small[0], columns // small[1]
    means = rows // whole[0], columns // whole[1]
    if whole[0] * means[0] != rows or whole[1] * means[1] != columns:
        means = small
    for size, way in ((means, cv2.INTER_AREA), (small, cv2.INTER_LINEAR)):
        if size != maps.shape[1:]:
            stack = maps.reshape(-1, maps.shape[2])
            resized = cv2.resize(stack, (size[1], count * size[0]), interpolation=way)
            maps = np.asarray(resized, np.float32).reshape(count, *size)
    return maps


def _enlarged(levels: Levels, height: int, width: int) -> Levels:
    """Repeat pixels along axes shorter than the cell's: (N, h, w) -> (N * height, width)."""
    rows, columns = levels.shape[1:]
    if columns != width:  # nearest center, unlike OpenCV's INTER_NEAREST
        levels = np.take(levels, (2 * np.arange(width) + 1) * columns // (2 * width), axis=2)
    if rows != height:
        levels = np.take(levels, (2 * np.arange(height) + 1) * rows // (2 * height), axis=1)
    return levels.reshape(-1, width)


def _levels(maps: Floats, low: Floats, high: Floats, boost: Boost) -> Levels:
    """Map values to 0 to 255; signed ones to 1 to 255, with 0 at 128."""
    if boost.signed:
        share = np.abs(maps / np.where(high > 0, high, 1))
        steps = np.rint(np.clip(share, 0, 1) * STEPS).astype(np.uint16)
        sizes = _powers(ROOT * boost.gamma, 127)[steps].astype(np.int16)
        return (128 + np.where(maps < 0, -sizes, sizes)).astype(np.uint8)
    span = np.where(high > low, high - low, 1)
    top = 255 if boost.gamma == 1 else STEPS
    factor = np.where(high > low, top / span, 0).astype(np.float32)
    if boost.individual:
        levels = _rounded((maps - low) * factor, 1.0, 0.0, top)
    else:  # one range for all: in a single sweep
        levels = _rounded(maps, float(factor[0, 0, 0]), float(low[0, 0, 0]), top)
    return levels if boost.gamma == 1 else _powers(boost.gamma, 255).take(levels)


def _rounded(maps: Floats, factor: float, low: float, top: int) -> NDArray[Any]:
    """``factor * (maps - low)``, rounded and clipped to 0 to `top`, 255 or 65535."""
    import cv2

    flat = maps.reshape(-1, maps.shape[2])
    kind = cv2.CV_8U if top == 255 else cv2.CV_16U
    return cv2.addWeighted(flat, factor, flat, 0.0, -factor * low, dtype=kind).reshape(maps.shape)


@lru_cache(maxsize=8)
def _powers(gamma: float, top: int) -> Levels:
    return np.rint(top * (np.arange(STEPS + 1) / STEPS) ** gamma).astype(np.uint8)


def _colored(levels: Levels, colors: NDArray[np.uint8]) -> Levels:
    import cv2

    if colors is table("gray"):  # three times as fast
        return np.asarray(cv2.cvtColor(levels, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.applyColorMap(levels, colors[:, np.newaxis]), np.uint8)


# -- attribution at the input ---------------------------------------------------------------------


def attribution_picture(view: View) -> Picture | None:
    """The attribution map as a picture; None while there is none."""
    if view.state.shows_heat:
        return heated_input(view)
    found = view.attribution
    if found is None:
        return None
    return _marked(map_picture(_finite(found), view.preprocessor, view.state.diff_style), found)


def heated_input(view: View) -> Picture | None:
    """The net's input with the attribution map as a heat map; None while there is no map."""
    found = view.attribution
    if found is None or view.result is None:
        return None
    return _marked(map_overlay(_finite(found), view.result.picture), found)


def overlaid_input(view: View) -> Picture | None:
    """The net's input with the selected unit's feature map as a heat map; None while it has none.

    The map is stretched over the whole picture, not aligned with receptive field centers.
    """
    found = view.unit_map
    if found is None or view.result is None:
        return None
    return _marked(map_overlay(_finite(found), view.result.picture), found)


def _finite(map_: Floats) -> Floats:
    return np.nan_to_num(map_, posinf=0, neginf=0)


def _marked(picture: Picture, map_: Floats) -> Picture:
    """Mark pixels with non-finite values, as the grid does."""
    finite = np.isfinite(map_)
    bad = np.asarray(~(finite.all(axis=0) if finite.ndim == 3 else finite), np.uint8)
    if bad.any():
        picture = picture.copy()
        picture[resize_image(bad, *picture.shape[:2]) > 0] = BROKEN
    return picture

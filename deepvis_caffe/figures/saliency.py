"""Views of an input's diff: ``diff (C, H, W) -> picture (H, W, 3)``, the toolbox's four and one.

`raw` keeps the colours, `gray` is the mean over channels, `norm` the length over channels, and
`blur` that length, blurred, which is the one that shows where. `positive` is what would make the
unit answer more if there were more of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.image import Picture
from deepvis_caffe.model.preprocess import Preprocessor

Floats = NDArray[np.float32]

BLUR = 4.0  # pixels, the Deep Visualization Toolbox's caffevis_grad_norm_blur_radius


def raw(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """Colours, 0 is mid-gray, the largest magnitude is black or white."""
    return preprocessor.show_symmetric(diff)


def gray(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The mean over channels, 0 is mid-gray."""
    mean = diff.mean(axis=0)
    largest = np.abs(mean).max()
    return _gray_picture(0.5 + 0.5 * mean / largest if largest > 0 else np.full_like(mean, 0.5))


def norm(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The length over channels, from black at the smallest to white at the largest."""
    return _gray_picture(_stretched(np.linalg.norm(diff, axis=0)))


def blur(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """As `norm`, blurred before it is stretched."""
    return _gray_picture(heat(diff))


def positive(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The sum over channels of what is above 0, stretched from black to white."""
    return _gray_picture(_stretched(np.maximum(diff, 0).sum(axis=0)))


VIEWS: dict[str, Callable[[Floats, Preprocessor], Picture]] = {
    "raw": raw,
    "gray": gray,
    "norm": norm,
    "blur": blur,
    "positive": positive,
}


def show_diff(diff: Floats, preprocessor: Preprocessor, view: str = "raw") -> Picture:
    """The picture of a diff.

    Parameters
    ----------
    diff
        (C, H, W), the diff of the net's image input.
    preprocessor
        The net's; knows the order of the channels.
    view
        One of `VIEWS`.
    """
    if view not in VIEWS:
        raise UnknownNameError("view", view, VIEWS)
    return VIEWS[view](diff, preprocessor)


def heat(diff: Floats) -> Floats:
    """How much each pixel matters, (H, W) in [0, 1]: blurred length over channels."""
    from scipy.ndimage import gaussian_filter

    return _stretched(gaussian_filter(np.linalg.norm(diff, axis=0), BLUR))


def overlay(picture: Picture, heat: Floats, strength: float = 0.8) -> Picture:
    """Lay a heat map over a picture: the hotter a pixel, the more of it is the map's colour.

    Parameters
    ----------
    picture
        (H, W, 3), RGB.
    heat
        (H, W) in [0, 1].
    strength
        Share of the map where it is hottest.
    """
    import cv2

    if picture.shape[:2] != heat.shape:
        raise ImageError(
            f"the heat map of shape {heat.shape} does not fit the picture of shape {picture.shape}"
        )
    levels = np.rint(heat * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    share = strength * heat[..., np.newaxis]
    return np.rint(picture * (1 - share) + colours * share).astype(np.uint8)


def _stretched(values: Floats) -> Floats:
    """Values from 0 at the smallest to 1 at the largest; all 0 where they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _gray_picture(unit: Floats) -> Picture:
    levels = np.rint(unit * 255).astype(np.uint8)
    return np.repeat(levels[..., np.newaxis], 3, axis=2)

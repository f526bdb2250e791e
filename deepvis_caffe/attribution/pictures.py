"""Attribution maps as pictures: ``map (C, H, W) or (H, W) -> picture (H, W, 3)``.

`map_picture` shows a map, and `map_overlay` overlays it on its image. There are several styles.

Four of them are the Deep Visualization Toolbox's: `raw` keeps the colors, `gray` is the mean over
channels, `norm` the Euclidean norm over channels, and `blur` that norm, blurred, which best shows
where the unit looks. `positive` is the sum of positive values over channels, `signed` the sum over
channels, red where positive and blue where negative, and `heat` the positive part of that sum in
the colors of fire.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.image import Floats, Picture, resize_image
from deepvis_caffe.model.preprocess import Preprocessor

RED, BLUE = np.array((178, 10, 28)), np.array((5, 65, 160))
PALE = 0.55  # darkness of black below a signed map
SATURATED = 99  # percentile of the magnitudes at which a picture's colors saturate
BLUR = 4.0  # pixels, the Deep Visualization Toolbox's caffevis_grad_norm_blur_radius


def raw(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """In color: 0 is mid-gray, and the largest magnitude is black or white."""
    return preprocessor.show_symmetric(diff)


def gray(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The mean over channels; 0 is mid-gray."""
    mean = diff.mean(axis=0)
    largest = np.abs(mean).max()
    return _gray_picture(0.5 + 0.5 * mean / largest if largest > 0 else np.full_like(mean, 0.5))


def norm(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The norm over channels, from black at the smallest to white at the largest."""
    return _gray_picture(_stretched(np.linalg.norm(diff, axis=0)))


def blur(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """As `norm`, but blurred before its contrast is stretched."""
    return _gray_picture(heat(diff))


def positive(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The sum over channels of the positive values, stretched from black to white."""
    return _gray_picture(_stretched(np.maximum(diff, 0).sum(axis=0)))


def signed(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The sum over channels: 0 is white, positive values are red and negative ones blue."""
    total = diff.sum(axis=0)
    largest = np.abs(total).max()
    return signed_colors(total / largest if largest > 0 else np.zeros_like(total))


def signed_colors(shares: Floats) -> Picture:
    """Numbers in -1..1, (H, W), as colors: 0 is white, 1 is `RED` and -1 is `BLUE`.

    ``255 + |share| * (ink - 255)``.
    """
    ink = np.where(shares[..., np.newaxis] > 0, RED, BLUE)
    return np.rint(255 + np.abs(shares)[..., np.newaxis] * (ink - 255)).astype(np.uint8)


def heat_colors(diff: Floats, preprocessor: Preprocessor) -> Picture:
    """The positive part of the sum over channels, from black through red to yellow."""
    total = np.maximum(diff.sum(axis=0), 0)
    largest = total.max()
    return _inferno(total / largest if largest > 0 else total)


STYLES: dict[str, Callable[[Floats, Preprocessor], Picture]] = {
    "raw": raw,
    "gray": gray,
    "norm": norm,
    "blur": blur,
    "positive": positive,
    "signed": signed,
    "heat": heat_colors,
}


def map_picture(map_: Floats, preprocessor: Preprocessor, style: str = "raw") -> Picture:
    """The picture of an attribution map, (H, W, 3) RGB uint8.

    Colors saturate at the 99th percentile of the magnitudes, because a few extreme pixels would
    take most of the range.

    Parameters
    ----------
    map_
        (C, H, W) in the net's channel order; or (H, W), from a method without channels.
    preprocessor
        The net's preprocessor.
    style
        One of `STYLES`.

    Raises
    ------
    UnknownNameError
        There is no such style.
    """
    clear = map_ if map_.ndim == 3 else map_[np.newaxis]
    magnitude = float(np.percentile(np.abs(clear), SATURATED))
    if magnitude > 0:
        clear = np.clip(clear, -magnitude, magnitude)
    if len(clear) != preprocessor.shape[0]:  # without channels it is gray
        clear = np.repeat(clear, preprocessor.shape[0], axis=0)
    return show_diff(clear, preprocessor, style)


def map_overlay(map_: Floats, picture: Picture) -> Picture:
    """A picture overlaid with a map as a heat map: hot where values or magnitudes are large.

    Parameters
    ----------
    map_
        As for `map_picture`.
    picture
        (H, W, 3) RGB uint8, of any size.

    Raises
    ------
    ImageError
        It is not such a picture.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ImageError(
            f"overlay takes a picture, uint8 of shape (H, W, 3); got {picture.dtype} of shape "
            f"{picture.shape}"
        )
    if map_.ndim == 2:  # smooth already
        hot = np.maximum(map_, 0)
        hot = np.asarray(hot / (hot.max() or 1), np.float32)
    else:
        hot = np.asarray(heat(map_), np.float32)
    return overlay(picture, np.clip(resize_image(hot, *picture.shape[:2]), 0, 1))


def show_diff(diff: Floats, preprocessor: Preprocessor, style: str = "raw") -> Picture:
    """The picture of a diff.

    Parameters
    ----------
    diff
        (C, H, W), the diff of the net's image input.
    preprocessor
        The net's preprocessor, which knows the channel order.
    style
        One of `STYLES`.

    Raises
    ------
    UnknownNameError
        There is no such style.
    """
    if style not in STYLES:
        raise UnknownNameError("style", style, STYLES)
    return STYLES[style](diff, preprocessor)


def heat(diff: Floats) -> Floats:
    """A heat map, (H, W) in [0, 1]: the blurred norm over channels."""
    from scipy.ndimage import gaussian_filter

    return _stretched(gaussian_filter(np.linalg.norm(diff, axis=0), BLUR))


def overlay(picture: Picture, heat: Floats, strength: float = 0.8) -> Picture:
    """Blend a heat map into a picture: the hotter a pixel, the more of the map's color it gets.

    Parameters
    ----------
    picture
        (H, W, 3), RGB.
    heat
        (H, W) in [0, 1].
    strength
        The map's share of the color at its hottest.
    """
    if picture.shape[:2] != heat.shape:
        raise ImageError(
            f"the heat map of shape {heat.shape} does not fit the picture of shape {picture.shape}"
        )
    colors = _inferno(heat)
    share = strength * heat[..., np.newaxis]
    return np.rint(picture * (1 - share) + colors * share).astype(np.uint8)


def summed(map_: Floats, finest: int) -> Floats:
    """A map of at most `finest` rows and columns, the values of neighbors added up.

    The gradient reaches a large map through the few positions that maximum poolings chose: points,
    which are too small to be seen.

    Parameters
    ----------
    map_
        (H, W).
    """
    step = max(1, -(-max(map_.shape) // finest))
    rows, columns = (np.arange(0, length, step) for length in map_.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(map_, rows, axis=0), columns, axis=1))


def signed_overlay(picture: Picture, map_: Floats, most: float) -> Picture:
    """A map over a paled picture: red where it is positive, blue where negative.

    Parameters
    ----------
    picture
        (H, W, 3), RGB.
    map_
        (h, w), of any size; each value becomes a uniform rectangle.
    most
        The magnitude with the strongest color.
    """
    import cv2

    height, width = picture.shape[:2]
    share = np.clip(map_ / most, -1, 1) if most > 0 else np.zeros_like(map_)
    share = cv2.resize(
        np.asarray(share, np.float32), (width, height), interpolation=cv2.INTER_NEAREST
    )[..., np.newaxis]
    pale = 255 - (255 - picture.mean(axis=2, keepdims=True)) * PALE
    ink = np.where(share > 0, RED, BLUE)
    strength = np.sqrt(np.abs(share))  # because a few are far larger than the others
    return np.rint(pale + strength * (ink - pale)).astype(np.uint8)


def _inferno(unit: Floats) -> Picture:
    import cv2

    levels = np.rint(unit * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1], np.uint8)


def _stretched(values: Floats) -> Floats:
    """The values scaled to [0, 1]; all 0 if they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _gray_picture(unit: Floats) -> Picture:
    levels = np.rint(unit * 255).astype(np.uint8)
    return np.repeat(levels[..., np.newaxis], 3, axis=2)

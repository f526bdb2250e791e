"""The weights of a layer as pictures: ``(net, layer) -> LayerWeights``.

A unit that reads the image is one patch in the image's colors. Any other is a square of patches,
one for each channel that it reads, in order. In every picture a weight w is scaled to w / m, where
m is the largest magnitude in the unit's kernel, or with ``scale="layer"`` in the whole layer:

============  =========================================================================
``"image"``   channels as red, green and blue: ``127.5 + 127.5 * w / m``
``"gray"``    a patch for each channel, in gray: ``127.5 + 127.5 * w / m``
``"signed"``  a patch for each channel: 0 is white, m red and -m blue
============  =========================================================================

Kernels of three axes are cut into their slices, side by side.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.attribution.pictures import signed_colors
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.figures.montage import square_side
from deepvis_caffe.image import Floats, Picture, encode_png, write_image
from deepvis_caffe.model.kernels import Kernels, kernels_of
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.weight_statistics import WeightStatistics, weight_statistics
from deepvis_caffe.optimizer.targets import check_units

SCALES = ("unit", "layer")
STYLES = {"image": 40, "gray": 40, "signed": 200}  # with the gray level of lines between patches
SMALLEST = 384  # pixels; the least length of a picture's longer side
CLEAR = 3  # pixels per weight, unless the picture would have more than `LARGE`
LARGE = 4_000_000  # pixels
MOST = 16_000_000  # pixels of a layer's picture; of larger layers only the first units are drawn


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The weights of a layer, as numbers and as pictures.

    Attributes
    ----------
    kernels
        The kernels of all units; see `deepvis_caffe.model.kernels`.
    preprocessor
        The net's preprocessor, which knows the order of the image's channels; None if the input is
        not a picture.
    """

    kernels: Kernels
    preprocessor: Preprocessor | None = field(repr=False)

    @property
    def values(self) -> Floats:
        """float32 (units, channels, *window), in the net's channel order."""
        return self.kernels.values

    @property
    def style(self) -> str:
        """How pictures are drawn by default: ``"image"`` or ``"signed"``."""
        return "image" if self._is_image else "signed"

    def statistics(self, unit: int | None = None) -> WeightStatistics:
        """Mean, spread, range and histogram of a unit's kernel, or of the whole layer."""
        return weight_statistics(self.values if unit is None else self.values[self._unit(unit)])

    def picture(
        self,
        units: int | Sequence[int] | None = None,
        scale: str = "unit",
        style: str | None = None,
        zoom: int | None = None,
    ) -> Picture:
        """A picture of one or several units' weights, (H, W, 3) RGB uint8.

        Parameters
        ----------
        units
            A unit; several; or None for the first `count_shown` units of the layer. Several units
            of one patch each form a square, row by row; otherwise each unit is a row of patches.
        scale
            ``"unit"`` or ``"layer"``: over which weights the largest magnitude is taken.
        style
            ``"image"``, ``"gray"`` or ``"signed"``; by default `style`.
        zoom
            Pixels per weight; by default from `enlargement`. Patches of more than one weight are
            separated by lines of a quarter of this, but at least one pixel.

        Raises
        ------
        SettingsError
            The layer has no such unit.
        UnknownNameError
            There is no such scale or style.
        ImageError
            The weights are not those of an image, and the style is ``"image"``.
        """
        one = isinstance(units, int | np.integer)
        if units is None:
            chosen = list(range(self.count_shown))
        else:
            chosen = [self._unit(unit) for unit in np.atleast_1d(units).tolist()]
        patches = self.patches(chosen, scale, style)
        each = patches.shape[1]
        columns = each if each > 1 and not one else square_side(len(chosen) * each)
        flat = patches.reshape(-1, *patches.shape[2:])
        height, width = flat.shape[1:3]
        size = math.ceil(len(flat) / columns) * height, columns * width
        zoom = enlargement(*size) if zoom is None else zoom
        gap = max(1, zoom // 4) if height * width > 1 else 0
        large = flat.repeat(zoom, axis=1).repeat(zoom, axis=2)
        return tiled(large, columns, gap, STYLES[style or self.style])

    def patches(
        self, units: Sequence[int], scale: str = "unit", style: str | None = None
    ) -> Picture:
        """The patches of units, (units, patches, h, w, 3) RGB uint8, one pixel per weight.

        Parameters and errors are those of `picture`.
        """
        style = style or self.style
        if scale not in SCALES:
            raise UnknownNameError("scale", scale, SCALES)
        if style not in STYLES:
            raise UnknownNameError("style", style, STYLES)
        maps = as_maps(self.values[[self._unit(unit) for unit in units]])
        largest = np.abs(maps).max(axis=(1, 2, 3), keepdims=True, initial=0)
        largest = np.full_like(largest, self._largest) if scale == "layer" else largest
        shares = np.asarray(maps / np.where(largest > 0, largest, 1), np.float32)
        if style == "image":
            if not self._is_image or self.preprocessor is None:
                raise ImageError(
                    f"the {maps.shape[1]} channels of layer {self.kernels.layer!r} are not those "
                    "of an image; take style 'gray' or 'signed'"
                )
            # Without the mean, which has no effect here and another shape.
            small = replace(self.preprocessor, shape=maps.shape[1:], mean=None, resize_to=None)
            return small.show_symmetric(shares, largest=1)[:, np.newaxis]
        if style == "signed":
            colors = signed_colors(shares.reshape(-1, shares.shape[-1]))
            return colors.reshape(*shares.shape, 3)
        levels = np.rint(127.5 + 127.5 * shares).astype(np.uint8)
        return np.repeat(levels[..., np.newaxis], 3, axis=-1)

    @property
    def count_shown(self) -> int:
        """How many units a picture of the layer shows: all, unless that would be too large."""
        _, channels, height, width = as_maps(self.values[:1]).shape
        gap = int(height * width > 1)
        each = (height + gap) * (width + gap) * (1 if self._is_image else channels)
        return min(len(self.values), max(1, MOST // each))

    def save(self, path: str | os.PathLike[str], units: int | Sequence[int] | None = None) -> Path:
        """Write `picture` to a file (``.png``, ``.jpg``)."""
        return write_image(Path(path), self.picture(units))

    def _repr_png_(self) -> bytes:
        return encode_png(self.picture())

    def _unit(self, unit: Any) -> int:
        (checked,) = check_units([unit], self.values.shape, self.kernels.layer)
        return checked

    @cached_property
    def _largest(self) -> float:
        return float(np.abs(self.values).max(initial=0))

    @property
    def _is_image(self) -> bool:
        channels = self.values.shape[1]
        known = self.preprocessor is not None and self.preprocessor.shape[0] == channels
        return known and channels in (1, 3) and self.kernels.reads_image


def layer_weights(net: Net, layer: str) -> LayerWeights:
    """The weights of a layer, as numbers and as pictures.

    Parameters
    ----------
    net
        From `load_net`.
    layer
        The name of a convolution, a deconvolution or an inner product, or of a blob, which stands
        for the first layer that writes it.

    Raises
    ------
    ModelError
        The layer has no weights, or none that are kernels.
    UnknownNameError
        The net has no such layer or blob.
    WeightsError
        The net was read without its weights.
    """
    kernels = kernels_of(net.model, layer)
    try:
        preprocessor = net.preprocessor
    except ImageError:  # the input is not a picture
        return LayerWeights(kernels, None)
    return LayerWeights(kernels, preprocessor)


def enlargement(height: int, width: int) -> int:
    """How many times a picture of `height` x `width` weights is enlarged."""
    clear = min(CLEAR, math.isqrt(LARGE // max(1, height * width)))
    return max(1, clear, math.ceil(SMALLEST / max(height, width)))


def as_maps(kernels: Floats) -> Floats:
    """Kernels (units, channels, *window) as maps (units, channels, h, w), slices side by side."""
    units, channels, *window = kernels.shape
    if len(window) < 3:
        height, width = (1,) * (2 - len(window)) + tuple(window)
        return kernels.reshape(units, channels, height, width)
    slices = kernels.reshape(units, channels, -1, *window[-2:])
    return slices.swapaxes(2, 3).reshape(units, channels, window[-2], -1)


def tiled(patches: Picture, columns: int, gap: int, fill: int) -> Picture:
    """Patches (..., count, h, w, 3) in rows, as (..., H, W, 3), with lines of `fill` between."""
    *lead, count, height, width, _ = patches.shape
    rows = math.ceil(count / columns)
    out = np.full((*lead, rows, height + gap, columns, width + gap, 3), fill, np.uint8)
    for row in range(rows):
        some = patches[..., row * columns : (row + 1) * columns, :, :, :]
        out[..., row, :height, : some.shape[-4], :width, :] = np.moveaxis(some, -4, -3)
    whole = out.reshape(*lead, rows * (height + gap), columns * (width + gap), 3)
    return whole[..., : whole.shape[-3] - gap, : whole.shape[-2] - gap, :]

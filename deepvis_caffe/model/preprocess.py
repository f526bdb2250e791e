"""Preprocessing: ``picture (H, W, 3) RGB uint8 -> x (C, H, W) float32``, and back for display.

The steps are those of Caffe's own Transformer (``python/caffe/io.py``), in its order: resize,
channels first, swap channels, times ``raw_scale``, minus mean, times ``input_scale``. Before
``raw_scale`` pixels are in [0, 1]. Unlike Caffe's, our downsampling averages over areas, so it does
not alias.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Floats, Picture, resize_image
from deepvis_caffe.model.mean import Mean, MeanSpec, crop_mean, load_mean

log = logging.getLogger(__name__)

PICTURES = (1, 3)  # channels of gray and color pictures
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as in OpenCV and so in Caffe


def _part(whole: slice, part: slice, size: int) -> slice:
    """The pixels of `whole` that become `part` after `whole` is resized to `size`."""
    pixels = whole.stop - whole.start
    first, end = part.start * pixels // size, -(-part.stop * pixels // size)
    return slice(whole.start + first, whole.start + end)


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """How a picture becomes a net's input.

    Parameters
    ----------
    shape
        (C, H, W) of the input.
    mean
        The mean to subtract, in the net's channel order, after `raw_scale`; see
        `deepvis_caffe.model.mean.load_mean`. As an attribute it is an array that broadcasts to
        (C, H, W).
    channel_swap
        For each input channel, the picture's channel. By default (2, 1, 0), RGB to BGR, for 3
        channels, and no swap otherwise.
    raw_scale
        Value of a white pixel before the mean is subtracted: 255 for most nets, 1 for some.
    input_scale
        Factor after the mean is subtracted, for example 0.017 or 1/128.
    picture_channels
        The channels to display, for inputs that are not RGB: three for red, green and blue; or any
        other number, whose mean is shown in gray. They count as in an image file, before
        `channel_swap`. By default the first three; the first one of 2 channels.
    resize
        ``"crop"`` takes the largest centered region with the input's aspect ratio; ``"stretch"``
        takes the whole picture and distorts it.
    resize_to
        (height, width) to resize a picture to, before its center is cropped to the input, as in
        Caffe's data layers at test time: 256 x 256, of which 227 x 227 are cropped. `resize` then
        refers to this size's aspect ratio. By default the input's own size.

    Raises
    ------
    ImageError
        A parameter or the mean does not fit.
    """

    shape: tuple[int, int, int]
    mean: MeanSpec = None
    channel_swap: Sequence[int] | None = None
    raw_scale: float = 255.0
    input_scale: float = 1.0
    resize: Literal["crop", "stretch"] = "crop"
    resize_to: tuple[int, int] | None = None
    picture_channels: Sequence[int] | None = None
    full_mean: Mean = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ImageError(
                f"a picture needs an input of shape (channels, height, width), got {self.shape}"
            )
        channels, height, width = self.shape
        for name in ("raw_scale", "input_scale"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ImageError(f"{name} must be a positive number, got {value}")
        if self.resize not in ("crop", "stretch"):
            raise ImageError(f"resize must be 'crop' or 'stretch', got {self.resize!r}")
        if self.resize_to is not None and not (
            len(self.resize_to) == 2 and self.resize_to[0] >= height and self.resize_to[1] >= width
        ):
            raise ImageError(
                f"resize_to must be (height, width), each at least the input's {height} x {width}, "
                f"got {self.resize_to}"
            )
        swap = self.channel_swap
        if swap is None:
            swap = (2, 1, 0) if channels == 3 else range(channels)
        if sorted(swap) != list(range(channels)):
            raise ImageError(
                f"channel_swap must name each of the input's {channels} channels once, for example "
                f"{tuple(reversed(range(channels)))}, got {tuple(swap)}"
            )
        shown = self.picture_channels
        if shown is not None and not (len(shown) and set(shown) <= set(range(channels))):
            raise ImageError(
                f"picture_channels must name some of the input's {channels} channels, from 0 to "
                f"{channels - 1}, got {tuple(shown)}"
            )
        full_mean = load_mean(self.mean, channels)
        object.__setattr__(self, "channel_swap", tuple(swap))
        object.__setattr__(self, "full_mean", full_mean)
        object.__setattr__(self, "mean", crop_mean(full_mean, height, width))

    def for_shape(self, height: int, width: int) -> Preprocessor:
        """The same preprocessing for another input size; a mean image is cropped again."""
        first = self.resize_to
        if first is not None and (first[0] < height or first[1] < width):
            first = None  # nothing is left to crop
        shape = (self.shape[0], height, width)
        return replace(self, shape=shape, mean=self.full_mean, resize_to=first)

    def cut(self, rows: slice, columns: slice) -> Preprocessor:
        """The same preprocessing for a part of the input, including the mean image's part."""
        _, height, width = self.shape
        mean = self._mean if self._mean.shape[1:] == (1, 1) else self._mean[:, rows, columns]
        part = (len(range(height)[rows]), len(range(width)[columns]))
        return replace(self, shape=(self.shape[0], *part), mean=mean, resize_to=None)

    # -- picture to input --------------------------------------------------------------------

    def __call__(self, image: NDArray[Any] | Sequence[NDArray[Any]]) -> Floats:
        """Convert one picture, or each of several, to the net's input.

        Parameters
        ----------
        image
            (H, W), (H, W, 1), (H, W, 3) RGB, (H, W, 4) RGBA, or (H, W, C) for an input of C
            channels, of any size: uint8, uint16, or floats in [0, 1], whose highest value becomes
            `raw_scale`. Floats beyond 1 are used unchanged, as if multiplied by `raw_scale`
            already; for an input of 1 or 3 channels they must be in [0, `raw_scale`]. Or a sequence
            of these.

        Returns
        -------
        ndarray
            float32, (C, H, W); for a sequence (N, C, H, W).

        Raises
        ------
        ImageError
            The picture has no pixels, has values outside its type's range, or has a number of
            channels that cannot be converted to the net's.
        """
        if not isinstance(image, np.ndarray) or image.ndim > 3:
            return np.stack([self(one) for one in image])
        white = self._white(image)  # for the whole picture, not only for the crop
        if image.ndim > 1 and image.size:
            rows, columns = self.resized_region(*image.shape[:2])
            image = image[rows, columns]
        unit = resize_image(self._fit_channels(_unit(image, white)), *self.resized_size)
        unit = unit[self.center]
        raw = unit.transpose(2, 0, 1)[list(self._swap)] * np.float32(self.raw_scale)
        return np.ascontiguousarray((raw - self._mean) * np.float32(self.input_scale))

    def region(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns of a picture of that size that become the input.

        With ``"stretch"`` all of them; with ``"crop"`` the largest centered region with the input's
        aspect ratio, to the nearest pixel. With `resize_to`, the part of these that is not cropped.
        """
        rows, columns = self.resized_region(height, width)
        if self.resize_to is None:
            return rows, columns
        return (
            _part(rows, self.center[0], self.resize_to[0]),
            _part(columns, self.center[1], self.resize_to[1]),
        )

    @property
    def resized_size(self) -> tuple[int, int]:
        """(height, width) to which a picture is resized: `resize_to`, or the input's."""
        return self.resize_to or (self.shape[1], self.shape[2])

    @property
    def center(self) -> tuple[slice, slice]:
        """The rows and columns of the resized picture that are the input, as Caffe crops it."""
        rows, columns = (
            slice((size - own) // 2, (size - own) // 2 + own)
            for size, own in zip(self.resized_size, self.shape[1:], strict=True)
        )
        return rows, columns

    def resized_region(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and columns of a picture of that size that are resized."""
        if self.resize == "stretch":
            return slice(0, height), slice(0, width)
        own_height, own_width = self.resized_size
        rows = min(height, max(1, round(width * own_height / own_width)))
        columns = min(width, max(1, round(height * own_width / own_height)))
        top, left = (height - rows) // 2, (width - columns) // 2
        return slice(top, top + rows), slice(left, left + columns)

    # -- input to picture --------------------------------------------------------------------

    def show(self, x: Floats) -> Picture:
        """The picture for an input: the inverse of :meth:`__call__`.

        Parameters
        ----------
        x
            (..., C, H, W), the net's input.

        Returns
        -------
        ndarray
            (..., H, W, 3), RGB, uint8. A gray input gives three equal channels; for an input that
            is neither gray nor RGB, `picture_channels` are shown.
        """
        x = self._checked(x)
        return self._as_picture((x / self.input_scale + self._mean) / self.raw_scale)

    def show_symmetric(self, x: Floats, largest: float | None = None) -> Picture:
        """An input or diff scaled around 0, so that 0 is mid-gray (DVT's ``best_X``).

        The magnitude `largest` becomes black or white; by default the largest over all channels of
        an image. An image of zeros is gray. Shapes are as in :meth:`show`.
        """
        x = self._checked(x)
        ends = np.abs(x).max(axis=(-3, -2, -1), keepdims=True) if largest is None else largest
        return self._as_picture(0.5 + 0.5 * x / np.where(np.asarray(ends) > 0, ends, 1))

    def picture(self, image: NDArray[Any]) -> Picture:
        """An image from a source, of any size, as a picture: (H, W, 3), RGB, uint8.

        Raises
        ------
        ImageError
            As :meth:`__call__`.
        """
        if image.ndim == 2:
            image = image[..., np.newaxis]
        count = image.shape[2]
        if count in (3, 4) and self.shape[0] in (1, 3):
            shown = [0, 1, 2]
        else:
            shown = [one for one in self._shown if one < count] or [0]
        white = self._white(image)
        chosen = image if shown == list(range(count)) else image[..., shown]
        if len(shown) == 3 and chosen.dtype == np.uint16:
            chosen = (chosen >> 8).astype(np.uint8)
        if len(shown) == 3 and chosen.dtype == np.uint8:  # a camera's image takes 150 MB as floats
            return chosen
        return _as_rgb(_unit(chosen, white))

    # -- the range of pictures, in the net's units -------------------------------------------

    @cached_property
    def low(self) -> Floats:
        """The input of a black picture; broadcasts to (C, H, W)."""
        return -self._mean * np.float32(self.input_scale)

    @cached_property
    def high(self) -> Floats:
        """The input of a white picture; broadcasts to (C, H, W)."""
        return (np.float32(self.raw_scale) - self._mean) * np.float32(self.input_scale)

    @property
    def pixel_scale(self) -> float:
        """The change of the input for one 8-bit gray level."""
        return self.raw_scale * self.input_scale / 255

    @property
    def mean_doubt(self) -> str:
        """Why the mean is implausible for `raw_scale`, in words; empty if it is plausible.

        A mean is between black and white. The mean of images in 0..1 is negligible for pixels in
        0..255, and the mean of images in 0..255 swamps pixels in 0..1.
        """
        largest, white = float(np.abs(self.full_mean).max()), self.raw_scale
        if 0 < largest <= 1 and white > 50:
            times = ", ".join(f"{value:.4g}" for value in self.full_mean.mean(axis=(1, 2)) * white)
            return (
                f"values of at most {largest:.4g}, as for images in 0..1, but raw_scale is "
                f"{white:g}: set raw_scale to 1; or, if the net was trained on pixels of "
                f"0..{white:g}, set the mean to ({times})"
            )
        if white < largest and white < 50:
            return (
                f"values up to {largest:.4g}, as for images in 0..255, but raw_scale is {white:g}: "
                "set raw_scale to 255, with input_scale for a factor after the mean is subtracted; "
                f"or divide the mean by {255 / white:g}"
            )
        if white < largest and len(self.full_mean) in PICTURES:
            return (
                f"values up to {largest:.6g}, brighter than white, which is {white:g}: is there a "
                "digit too many? If not, set raw_scale to the value of white in training"
            )
        return ""

    # -- parts -------------------------------------------------------------------------------

    @property
    def _mean(self) -> Mean:
        assert isinstance(self.mean, np.ndarray)
        return self.mean

    @property
    def _swap(self) -> tuple[int, ...]:
        assert isinstance(self.channel_swap, tuple)
        return self.channel_swap

    def _fit_channels(self, image: Floats) -> Floats:
        """(H, W) or (H, W, any) -> (H, W, C)."""
        if image.ndim == 2:
            image = image[..., np.newaxis]
        wanted, got = self.shape[0], image.shape[2]
        if got == 4 and wanted in (1, 3):
            image, got = image[..., :3], 3
        if got == wanted:
            return image
        if (got, wanted) == (1, 3):
            return np.repeat(image, 3, axis=2)
        if (got, wanted) == (3, 1):
            return image @ LUMA[:, np.newaxis]
        kinds = "an RGBA picture (PNG), " if wanted == 4 else ""
        raise ImageError(
            f"the net's input has {wanted} channels, but the picture has {got}; give {kinds}a TIFF "
            f"of {wanted} bands or pages, or an array (.npy or .npz) of shape (height, width, "
            f"{wanted})"
        )

    def _checked(self, x: Floats) -> Floats:
        x = np.asarray(x, np.float32)
        fits = x.ndim >= 3 and x.shape[-3] == self.shape[0]
        if not fits or self._mean.shape[1:] not in ((1, 1), x.shape[-2:]):
            raise ImageError(
                f"got shape {x.shape}, expected (..., {', '.join(map(str, self.shape))}); for "
                "another input size use for_shape(height, width)"
            )
        return x

    def _as_picture(self, unit: NDArray[np.floating[Any]]) -> Picture:
        """(..., C, H, W) in [0, 1] and the net's channel order -> (..., H, W, 3) uint8."""
        channels = np.argsort(self._swap)[list(self._shown)]
        return _as_rgb(np.moveaxis(unit[..., channels, :, :], -3, -1))

    @property
    def _shown(self) -> tuple[int, ...]:
        """The channels of `picture_channels`, in the order of an image's file."""
        channels = self.shape[0]
        if self.picture_channels is not None:
            return tuple(self.picture_channels)
        if channels not in (1, 3):
            _say_what_is_shown(channels)
        return (0, 1, 2) if channels >= 3 else (0,)

    def _white(self, image: NDArray[Any]) -> float:
        """The value in an image that becomes `raw_scale`."""
        if image.ndim < 2 or not image.size:
            raise ImageError(f"a picture of shape {image.shape} has no pixels; expected (H, W, 3)")
        if image.dtype in (np.uint8, np.uint16):
            return float(np.iinfo(image.dtype).max)
        if image.dtype.kind != "f":
            raise ImageError(
                f"a picture must be uint8, uint16 or floats in [0, 1], got {image.dtype}"
            )
        low, high = float(image.min()), float(image.max())  # NaN fails all comparisons
        if low >= 0 and high <= 1:
            return 1.0
        numbers = np.isfinite(low) and np.isfinite(high)
        if numbers and (self.shape[0] not in (1, 3) or (low >= 0 and high <= self.raw_scale)):
            return self.raw_scale
        raise ImageError(
            f"a picture of floats must lie in [0, 1] or [0, {self.raw_scale:g}], got {low:.4g} to "
            f"{high:.4g}; divide by 255, or convert it to uint8"
        )


def _unit(image: NDArray[Any], white: float) -> Floats:
    """Pixels of any accepted type as float32, `white` as 1."""
    unit = image.astype(np.float32)
    if white != 1:
        unit /= np.float32(white)  # in place: a camera's image takes 150 MB
    return unit


def _as_rgb(unit: NDArray[np.floating[Any]]) -> Picture:
    """(..., H, W, 3) in [0, 1] as a picture; for other numbers of channels, their mean."""
    if unit.shape[-1] != 3:
        unit = np.repeat(unit.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.rint(np.clip(np.nan_to_num(unit), 0, 1) * 255).astype(np.uint8)


@cache
def _say_what_is_shown(channels: int) -> None:
    """Log once how an input with this number of channels is shown."""
    log.warning(
        "the net's input has %d channels; pictures show %s. The setting picture_channels "
        "(--picture-channels) chooses others",
        channels,
        "the first three as red, green and blue" if channels > 3 else "the first one in gray",
    )

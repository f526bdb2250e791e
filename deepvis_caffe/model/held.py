"""Values for a net's inputs other than the image: ``(shapes, image, given) -> {name: Held}``.

Besides the image that is viewed, optimized and scanned, a net may read a mask, the image's size,
boxes, or a second image. These are held constant, by default at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.input_shape import times
from deepvis_caffe.npy import read_npy_file

Array = NDArray[np.float32]
Given = Mapping[str, float | str | Path | Array]

IMAGE = "image"  # the value for an input that also holds the image


@dataclass(frozen=True, eq=False)
class Held:
    """The value of an input.

    Attributes
    ----------
    name
        The input.
    what
        The value in words: ``"0"``, ``"the image"``, ``"mask.npy"``.
    array
        (1, ...), float32, for one image; None if it holds the image itself.
    is_given
        Whether the user chose it.
    """

    name: str
    what: str
    array: Array | None = field(repr=False)
    is_given: bool = True

    @property
    def is_image(self) -> bool:
        """Whether it holds the image."""
        return self.array is None

    def __str__(self) -> str:
        return f"input {self.name!r} {'holds' if self.is_image else 'is held at'} {self.what}"

    def for_images(self, images: Array) -> Array:
        """The values for a batch of images.

        Parameters
        ----------
        images
            (N, C, H, W), the content of the image input.

        Returns
        -------
        ndarray
            (N, ...), float32. The first column of ``rois`` is the index of each image in the batch,
            as RoI pooling reads it.
        """
        if self.array is None:
            return images
        values = np.repeat(self.array, len(images), axis=0)
        if self.name == "rois":
            values.reshape(len(images), -1)[:, 0] = np.arange(len(images))
        return values


def held_inputs(
    shapes: Mapping[str, tuple[int, ...]], image: str, given: Given | None = None
) -> dict[str, Held]:
    """The value of each input but the image.

    Parameters
    ----------
    shapes
        By input, batch axis first.
    image
        The image input.
    given
        A number, ``"image"``, the path of an ``.npy`` file, or an array, by input. By default 0;
        but ``im_info`` is height, width and scale of the image, and ``rois`` cover the full image,
        as in detectors derived from py-faster-rcnn.

    Raises
    ------
    UnknownNameError
        There is no such input.
    ModelError
        A value is for the image input, a file cannot be read, or a shape does not fit.
    """
    given = given or {}
    for name in given:
        if name not in shapes:
            raise UnknownNameError("input", name, shapes)
        if name == image:
            raise ModelError(
                f"input {name!r} is the image, so it cannot be held at {given[name]!r}; choose "
                "another image with image_input (--image-input)"
            )
    return {
        name: _held(name, shape, image, shapes[image], given.get(name))
        for name, shape in shapes.items()
        if name != image
    }


def _held(
    name: str,
    shape: tuple[int, ...],
    image: str,
    size: tuple[int, ...],
    value: float | str | Path | Array | None,
) -> Held:
    one = (1, *shape[1:])
    if value is None:
        return _by_default(name, one, size)
    if isinstance(value, str) and value == IMAGE:
        if one[1:] != size[1:]:
            raise ModelError(
                f"input {name!r} has shape {times(one)}, so it cannot hold the image, {image!r}, "
                f"of shape {times((1, *size[1:]))}"
            )
        return Held(name, "the image", None)
    if isinstance(value, int | float):
        return Held(name, f"{value:g}", np.full(one, value, np.float32))
    array = _read(name, value) if isinstance(value, str | Path) else np.asarray(value, np.float32)
    if array.shape not in (one, one[1:]):
        raise ModelError(
            f"input {name!r} takes values of shape {times(one[1:])} for one image; got "
            f"{times(array.shape)}" + (f" from {value}" if isinstance(value, str | Path) else "")
        )
    if not np.isfinite(array).all():
        raise ModelError(f"input {name!r}: some of the values to hold it at are NaN or infinite")
    what = Path(value).name if isinstance(value, str | Path) else "the given values"
    return Held(name, what, np.ascontiguousarray(array.reshape(one)))


def _by_default(name: str, one: tuple[int, ...], size: tuple[int, ...]) -> Held:
    values: tuple[int, ...] = ()
    if len(size) == 4:
        height, width = size[2:]
        usual: dict[tuple[str, tuple[int, ...]], tuple[int, ...]] = {
            ("im_info", (1, 3)): (height, width, 1),
            ("im_info", (1, 4)): (height, width, 1, 1),  # with the scales of its two sides
            ("rois", (1, 5)): (0, 0, 0, width - 1, height - 1),
        }
        values = usual.get((name, (1, math.prod(one))), ())
    if not values:
        return Held(name, "0", np.zeros(one, np.float32), is_given=False)
    what = ", ".join(map(str, values))
    return Held(name, what, np.array(values, np.float32).reshape(one), is_given=False)


def _read(name: str, path: str | Path) -> Array:
    try:
        return np.asarray(read_npy_file(Path(path)), np.float32)
    except (OSError, ValueError, TypeError) as error:  # a TypeError if it does not hold numbers
        raise ModelError(
            f"input {name!r}: cannot read {path}, the .npy file to hold it at: {error}. It takes a "
            "number, 'image', or the path of such a file"
        ) from error

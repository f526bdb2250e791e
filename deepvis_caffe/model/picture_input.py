"""Images of any form as a net's input: ``file, picture or array -> x (C, H, W)``."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Floats
from deepvis_caffe.image_channels import read_channels
from deepvis_caffe.model.preprocess import Preprocessor


def as_input(preprocessor: Preprocessor, image: NDArray[Any] | str | os.PathLike[str]) -> Floats:
    """The net's input (C, H, W) for an image.

    Parameters
    ----------
    preprocessor
        The net's.
    image
        A file; a picture, as `Preprocessor` takes it; or an already preprocessed float32 array,
        (C, H, W) or (1, C, H, W).

    Raises
    ------
    ImageError
        The image cannot be read, or does not fit this net.
    """
    if isinstance(image, (str, os.PathLike)):
        return preprocessor(read_channels(image, preprocessor.shape[0]))
    array: NDArray[Any] = np.asarray(image)
    if array.ndim == 4:
        channels = preprocessor.shape[0]
        if array.shape[:2] != (1, channels) or array.dtype.kind != "f":
            raise ImageError(
                f"expected one image as the net's input, float32 of shape (1, {channels}, H, W); "
                f"got {array.dtype} {array.shape}"
            )
        return np.asarray(array[0], np.float32)
    if array.dtype.kind == "f" and array.shape == preprocessor.shape:
        return np.asarray(array, np.float32)
    return preprocessor(array)

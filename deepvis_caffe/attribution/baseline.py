"""Baselines, the images without information that methods compare with: ``-> (C, H, W)``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.preprocess import Preprocessor

Baseline = float | Literal["mean", "black", "white"] | Floats


def baseline_image(baseline: Baseline, preprocessor: Preprocessor, x: Floats) -> Floats:
    """The baseline of an image.

    Parameters
    ----------
    baseline
        ``"mean"``, the mean image, which is 0 for the net; ``"black"`` or ``"white"``; or a number
        or an array that broadcasts to (C, H, W), in the net's units.
    preprocessor
        The net's preprocessor.
    x
        (C, H, W), the image.

    Raises
    ------
    SettingsError
        The baseline is none of these.
    """
    named: dict[str, Any] = {"mean": 0, "black": preprocessor.low, "white": preprocessor.high}
    try:
        value = named[baseline] if isinstance(baseline, str) else baseline
        image = np.broadcast_to(np.asarray(value, np.float32), x.shape)
    except (KeyError, TypeError, ValueError):
        given = repr(baseline) if isinstance(baseline, str) else f"shape {np.shape(baseline)}"
        raise SettingsError(
            f"baseline must be 'mean', 'black', 'white', a number, or an array that broadcasts to "
            f"{x.shape}; got {given}"
        ) from None
    if not np.isfinite(image).all():
        raise SettingsError("baseline must be finite; it holds NaN or infinite values")
    return image

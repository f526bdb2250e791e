"""Checks mean and scale against the net's training: ``(model, preprocessor) -> message``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import numpy as np

from deepvis_caffe.errors import ImageError
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.mean import MeanSpec, find_mean_file, load_mean
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.preprocess import Preprocessor

WHITE = 255.0  # in Caffe's data layers, which a transform_param configures
NO_MEAN = (
    "no mean is set, but most nets for color images were trained with one (ImageNet's is (104, "
    "117, 123)). Set mean to it (--mean), or to 0 if the net was trained without one"
)
ONE_GRAY = 1.0  # of 255; the same mean, computed or rounded differently, stays within this
# Layers that may replace a mean if they read the image.
SHIFTING = frozenset({"BatchNorm", "Bias", "MVN", "Power", "Scale"})


def wants_mean(model: Model, preprocessor: Preprocessor | None) -> bool:
    """Whether nets of this kind usually have a mean: those for color pictures of 0 to 255 do."""
    if preprocessor is None or len(preprocessor.full_mean) != 3 or preprocessor.raw_scale != WHITE:
        return False
    image = Value(model.image_input)
    if model.graph.producer[image].param.transform_param.mean_file:  # reported elsewhere if missing
        return False
    return not any(image in one.bottoms and one.type in SHIFTING for one in model.graph)


def differs_from_training(model: Model, preprocessor: Preprocessor | None) -> str:
    """How mean or scale differ from those of the net's own data layer, in words; or empty.

    A mean image equals its per-channel averages, and means within one gray level are equal. A mean
    of 0 and a scale of 1 differ on purpose: they mean that there is none.
    """
    if preprocessor is None or preprocessor.raw_scale != WHITE:
        return ""
    transform = model.graph.producer[Value(model.image_input)].param.transform_param
    spec: MeanSpec = tuple(transform.mean_value) or None
    if spec is None and transform.mean_file:
        spec = find_mean_file(model.prototxt, transform.mean_file)
    said = []
    if spec is not None and preprocessor.full_mean.any():
        with suppress(ImageError):  # an unreadable mean tells nothing
            theirs = load_mean(spec, len(preprocessor.full_mean)).mean(axis=(1, 2))
            ours = preprocessor.full_mean.mean(axis=(1, 2))
            if np.abs(theirs - ours).max() > ONE_GRAY:
                where = "" if transform.mean_value else f", {transform.mean_file}"
                said.append(
                    f"the mean is ({_numbers(ours)}), but the net's own transform_param says "
                    f"({_numbers(theirs)}{where}); mean = None uses that one"
                )
    scale = preprocessor.input_scale
    if transform.HasField("scale") and scale != 1 and not np.isclose(scale, transform.scale):
        said.append(
            f"input_scale is {scale:g}, but the net's own transform_param says "
            f"{transform.scale:g}; input_scale = None uses that one"
        )
    return "; ".join(said)


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)

"""Random transforms: ``(x, t) -> seen, adjoint``, what the net is shown of each image at step t.

Mordvintsev et al. 2015 ("Inceptionism") jitter the image before each step; Olah et al. 2017
("Feature Visualization") scale and rotate it too. Structure that excites a unit only pixel by pixel
does not survive this; structure that a person would recognize does. Each transform is an affine
map, sampled bilinearly, drawn anew at each step. The adjoint maps the gradient with respect to what
was seen exactly to the gradient with respect to x.

With transforms, activations belong to what was seen and do not tell which x is best. So the latest
x is the result, and at the last step the net is shown x itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

Adjoint = Callable[[Any], Any]
Transform = Callable[[Any, int], tuple[Any, Adjoint]]

STREAM = 1  # of random numbers from a seed; the first image draws from another one


def random_transforms(
    params: AscentParams, ops: ArrayOps, seeds: Sequence[int], height: int, width: int
) -> Transform:
    """The transforms that `params` asks for; the identity where it asks for none.

    Each image has a random generator made from its seed alone: its transforms do not depend on the
    other images of the batch.

    Parameters
    ----------
    params
        `jitter`, `scale`, `rotation` and `octaves` are read.
    ops
        Operations of the engine's arrays.
    seeds
        One per image.
    height, width
        Of the images.

    Returns
    -------
    callable
        Maps x (N, C, H, W) and the step to what the net is shown, of the same shape, and the
        adjoint.
    """
    if not params.has_transforms:
        return lambda x, t: (x, _identity)
    affines = affine_maps(params, seeds, height, width)
    last = params.iterations - 1
    return lambda x, t: ops.warp(x, affines[t]) if t < last else (x, _identity)


def _identity(gradient: Any) -> Any:
    return gradient


def affine_maps(
    params: AscentParams, seeds: Sequence[int], height: int, width: int
) -> NDArray[np.float64]:
    """The affine map of each step and image, (steps, N, 2, 3), for :meth:`ArrayOps.warp`.

    It rotates about the image's middle by an angle uniform in +-`rotation`, scales by
    ``1 + scale`` to the power of a number uniform in [-1, 1], and translates by up to `jitter` of
    each side.
    """
    steps, size = params.iterations, np.array([height, width])
    draws = np.stack(
        [np.random.default_rng([STREAM, seed]).uniform(-1, 1, (steps, 4)) for seed in seeds], axis=1
    )
    angle = np.radians(params.rotation) * draws[..., 0]
    zoom = (1 + params.scale) ** draws[..., 1] * octave_scales(params)[:, None]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.moveaxis(turn, (0, 1), (-2, -1)) / zoom[..., None, None]
    middle = (size - 1) / 2
    origin = middle + params.jitter * size * draws[..., 2:] - turn @ middle
    return np.concatenate([turn, origin[..., None]], axis=-1)


def octave_scales(params: AscentParams) -> NDArray[np.float64]:
    """The scale of each step due to its octave, (steps,): small at first, 1 in the last octave."""
    octave = np.arange(params.iterations) * params.octaves // params.iterations
    return np.asarray(params.octave_scale ** (octave - (params.octaves - 1.0)), np.float64)

"""Random views: ``(x, t) -> seen, back``, what the net is shown of each image at a step.

Mordvintsev et al. 2015 ("Inceptionism") shift the image at random before each step, and Olah et al.
2017 ("Feature Visualization") scale and rotate it too: what excites a unit only pixel by pixel does
not survive that, what a person would recognise does. The gradient with respect to x comes back
through the exact adjoint of the view.

Activations are then those of the views, and no measure of which x is best: the last one is taken,
and at the last step the net is shown x as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.params import AscentParams

Back = Callable[[Any], Any]
View = Callable[[Any, int], tuple[Any, Back]]

STREAM = 1  # of a seed's random numbers: the first image takes another


def random_views(
    params: AscentParams, ops: ArrayOps, seeds: Sequence[int], height: int, width: int
) -> View:
    """The views that `params` asks for; the images themselves where it asks for none.

    Each image draws from a generator of its own, made from its seed alone: its views depend on no
    other image of the batch.

    Parameters
    ----------
    params
        `shift`, `scale`, `rotation` and `octaves` are read.
    ops
        Operations of the engine's arrays.
    seeds
        One an image.
    height, width
        Of the images.

    Returns
    -------
    callable
        Maps x (N, C, H, W) and the step to what the net is shown, of the same shape, and to the
        function from a gradient with respect to that to the gradient with respect to x.
    """
    if not params.moves:
        return lambda x, t: (x, _unmoved)
    affines = affine_maps(params, seeds, height, width)
    last = params.iterations - 1
    return lambda x, t: ops.warp(x, affines[t]) if t < last else (x, _unmoved)


def _unmoved(gradient: Any) -> Any:
    return gradient


def affine_maps(
    params: AscentParams, seeds: Sequence[int], height: int, width: int
) -> NDArray[np.float64]:
    """Where each step looks, (steps, N, 2, 3), for :meth:`ArrayOps.warp`.

    A view turns about the picture's middle by an angle uniform in +-`rotation`, magnifies by
    ``1 + scale`` to the power of a number uniform in [-1, 1], and moves by up to `shift` of each
    side.
    """
    steps, size = params.iterations, np.array([height, width])
    draws = np.stack(
        [np.random.default_rng([STREAM, seed]).uniform(-1, 1, (steps, 4)) for seed in seeds], axis=1
    )
    angle = np.radians(params.rotation) * draws[..., 0]
    zoom = (1 + params.scale) ** draws[..., 1] * distances(params)[:, None]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.moveaxis(turn, (0, 1), (-2, -1)) / zoom[..., None, None]
    middle = (size - 1) / 2
    origin = middle + params.shift * size * draws[..., 2:] - turn @ middle
    return np.concatenate([turn, origin[..., None]], axis=-1)


def distances(params: AscentParams) -> NDArray[np.float64]:
    """The magnification of each step by its octave alone, (steps,): from afar, then nearer."""
    octave = np.arange(params.iterations) * params.octaves // params.iterations
    return np.asarray(params.octave_scale ** (octave - (params.octaves - 1.0)), np.float64)

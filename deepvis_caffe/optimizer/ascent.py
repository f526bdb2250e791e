"""The ascent itself: ``(net, layer, objective, x, params) -> tracks``. Read this first.

Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization", section 3, in the
order of steps of its Deep Visualization Toolbox: climb the gradient of a unit's activation, and
after every step pull the image a little towards pictures that people can read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.operators import regularizer
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.rates import Slope
from deepvis_caffe.optimizer.record import Floats, Record, Track

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.preprocess import Preprocessor

LOOK_EVERY = 16  # steps between two looks at how the images are: on a GPU a look waits


def ascend(
    net: Net,
    layer: str,
    objective: Objective,
    x: Floats,
    params: AscentParams,
    after_step: Callable[[int], bool] = lambda t: True,
    preprocessor: Preprocessor | None = None,
) -> list[Track]:
    """Climb from a batch of first images, each image by itself.

    An image whose gradient is exactly 0, or whose activation or gradient is not finite, has ended:
    nothing is remembered of it from then on, and the others go on.

    Parameters
    ----------
    net
        The net, on its engine.
    layer
        As in ``Net.evaluate``: a layer's own top, before any in-place layer after it.
    objective
        What to raise; made for as many images as `x` has.
    x
        (N, C, H, W), the first images, in the net's units.
    params
        Operators, rate and number of steps.
    after_step
        Called with the step's number; the ascent is cancelled where it returns False.
    preprocessor
        Of the part of the input that `x` holds; the net's own where that is all of it.

    Returns
    -------
    list of Track
        One an image: the best x, the history, and why it ended.
    """
    ops, xp, preprocessor = net.ops, net.ops.xp, preprocessor or net.preprocessor
    low, high = ops.asarray(preprocessor.low), ops.asarray(preprocessor.high)
    regularize = regularizer(params, ops, *x.shape[2:])
    x = ops.asarray(x)
    record = Record(ops, x, params.iterations, params.push)
    last = params.iterations - 1
    with np.errstate(all="ignore"):  # images that have ended may go anywhere, to infinity too
        for t in range(params.iterations):
            x = xp.clip(x, low, high)
            values = net.evaluate(x, layer, objective.channels)
            activation, on_top, diff = objective(values)
            record.see(t, x, activation, on_top)
            gradient = net.input_gradient(diff)
            steepest, square = slope_of(ops, gradient)
            record.feel(steepest)
            if not after_step(t):
                return record.tracks(cancelled=t < last)
            if t == last:
                break
            if t % LOOK_EVERY == 0:
                if record.all_ended():
                    break
                if record.all_met_top():  # nothing more to compare with: the others are left out
                    objective = objective.narrowed()
            lr = params.rate(
                Slope(
                    gradient=gradient,
                    square=square,
                    activation=xp.asarray(activation, dtype=xp.float64),
                    pixel_scale=preprocessor.pixel_scale,
                    xp=xp,
                )
            )
            x = x + xp.asarray(lr, dtype=xp.float32)[:, None, None, None] * gradient
            x = regularize(x, gradient, t)
    return record.tracks()


def slope_of(ops: ArrayOps, gradient: Any) -> tuple[Any, Any]:
    """Each image's largest ``|g|`` and its squared norm ``|g|^2``, (N,) float64 both.

    The gradient is divided by its maximum before it is squared: a saturated softmax has gradients
    of 1e-30, whose squares float32 cannot hold.
    """
    xp = ops.xp
    steepest = xp.amax(abs(gradient), axis=(1, 2, 3))
    safe = xp.where(steepest > 0, steepest, 1)[:, None, None, None]
    unit = gradient / safe
    square = xp.asarray((unit * unit).sum(axis=(1, 2, 3)), dtype=xp.float64)
    steepest = xp.asarray(steepest, dtype=xp.float64)
    return steepest, steepest * steepest * square

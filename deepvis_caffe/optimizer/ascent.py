"""The ascent: ``(reader, x, params) -> tracks``. Start reading here.

Regularized gradient ascent as in Yosinski et al. 2015, "Understanding Neural Networks Through Deep
Visualization", section 3, in the order of steps of its Deep Visualization Toolbox. At step t::

    x    = settle(clip(x, black, white))
    a, g = activation(transform(x, t)), and its gradient with respect to x
    x    = regularize(x + rate * direction(x, g), g, t)

Each part of it is a module of its own:

=====================================  =================================================
`deepvis_caffe.optimizer.targets`      what is maximized in a layer: ``units -> targets``
`...objectives`                        what is maximized in several: ``values -> number, diffs``
`...readers`                           both: ``x -> activation``, and its gradient
`...transforms`                        what the net is shown: ``(x, t) -> seen, adjoint``
`...parameterizations`                 where the step goes: ``(x, g) -> direction``
`...rates`                             how far it goes: ``gradient info -> rate``
`...regularizers`                      regularization: ``(x, g, t) -> x``
`...result`                            what is recorded of each image
=====================================  =================================================

The paper has no transforms, and changes the pixels themselves; unless a parameter asks for more,
`transform`, `direction` and `settle` are the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deepvis_caffe.image import Floats
from deepvis_caffe.optimizer import regularizers, transforms
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.rates import GradientInfo
from deepvis_caffe.optimizer.readers import Reader
from deepvis_caffe.optimizer.result import Track, Tracker

NONE_SILENT = np.zeros(0, np.bool_)
CHECK_EVERY = 16  # steps between two checks which images still run: on a GPU a check waits for it


def ascend(
    batch: BatchInfo,
    read: Reader,
    x: Floats,
    params: AscentParams,
    after_step: Callable[[int, Any], bool] = lambda t, x: True,
    redirects: int = 0,
) -> list[Track]:
    """Maximize an objective from a batch of first images, each image independently.

    An image ends where its gradient is exactly 0, or its activation or gradient is not finite.
    Nothing is remembered of it from then on; the others go on.

    Behind a ReLU a unit that is off has no gradient. It follows the redirected one instead, which
    leads to where the unit is on, for `redirects` steps at most.

    Parameters
    ----------
    batch
        The images' seeds, from which random transforms are drawn, and units: diversity acts among
        the images of one unit. Its preprocessor is that of the part of the input that `x` holds.
    read
        What to maximize, for as many images as `x` has.
    x
        (N, C, H, W), the first images, in the net's units.
    params
        Operators, rate and number of steps.
    after_step
        Called at the end of each step with its number and the engine's own array of images, before
        any transform. Where it returns False the ascent is cancelled. No array that belongs to the
        net is in use at that time: the net may run other inputs, of any shape.
    redirects
        For how many steps an image without a gradient may follow the redirected one. To look for
        such images makes the host wait for a GPU. So they are looked for at the first step, at each
        step after one that found some, and otherwise every `CHECK_EVERY` steps.

    Returns
    -------
    list of Track
        One per image: its best x, its history, and why it ended.
    """
    ops, preprocessor = batch.ops, batch.preprocessor
    xp, small = ops.xp, ops.for_numbers.xp  # `small` is for arrays with a number per image
    # Broadcast to the image's size: torch's clip is 3x slower with per-channel bounds.
    low, high = (
        ops.asarray(np.broadcast_to(end, x.shape[1:]))
        for end in (preprocessor.low, preprocessor.high)
    )
    transform = transforms.composed(params.chosen_transforms, batch)
    form = params.chosen_parameterization.bind(batch)
    regularize = regularizers.composed(params.chosen_regularizers, batch)
    x = form.start(ops.asarray(x))
    tracker = Tracker(ops, x, params.iterations, params.sign, latest=params.has_transforms)
    last = params.iterations - 1
    some_silent = False

    def aimed(x: Any, gradient: Any) -> tuple[Any, Any]:
        """The direction of the step, and its largest magnitude (N,)."""
        direction = form.direction(x, gradient)
        highest, lowest = xp.amax(direction, axis=(1, 2, 3)), xp.amin(direction, axis=(1, 2, 3))
        return direction, small.maximum(ops.numbers(highest), -ops.numbers(lowest))

    with np.errstate(all="ignore"):  # an image that has ended may overflow
        for t in range(params.iterations):
            before = x = form.settle(xp.clip(x, low, high))
            seen, adjoint = transform(x, t)
            activation, on_top = read(seen)
            tracker.add(t, x, activation, on_top)
            gradient = adjoint(read.gradient())
            direction, largest = aimed(x, gradient)
            checks = t % CHECK_EVERY == 0
            looks = redirects and (ops.on_host or some_silent or checks)
            silent = tracker.redirected(largest, redirects) if looks and t < last else NONE_SILENT
            some_silent = bool(silent.any())
            if some_silent:
                own = gradient * 1  # a copy, as it may be the net's own memory
                seen, adjoint = transform(x, t)  # an adjoint serves once
                other = adjoint(read.redirected_gradient(seen))
                gradient = xp.where(ops.asarray(silent, np.bool_)[:, None, None, None], other, own)
                direction, largest = aimed(x, gradient)
            tracker.end_without_gradient(largest)
            ends = t == last
            if not ends and checks:
                ends, undecided = tracker.check()
                if not ends:
                    read.narrow(undecided)
            if not ends:
                info = GradientInfo(
                    gradient=gradient,
                    direction=direction,
                    largest=largest,
                    activation=activation,
                    pixel_scale=preprocessor.pixel_scale,
                    ops=ops,
                    progress=t / params.iterations,
                )
                rate = small.asarray(params.rate(info), dtype=small.float32)
                # 0 / 0 for an image without a gradient, and Caffe's max pooling writes anywhere
                # on its way back from NaN.
                rate = small.where(largest > 0, rate, small.zeros_like(rate))[:, None, None, None]
                x = x + xp.asarray(rate) * direction
                x = regularize(x, gradient, t)
            # `activation` and `gradient` may be the net's own memory: not read after this.
            if not after_step(t, before):
                return tracker.tracks(cancelled=t < last)
            if ends:
                break
    return tracker.tracks()

"""The gradient ascent loop: ``(reader, x, params) -> tracks``. Start reading here.

Regularized gradient ascent as in Yosinski et al. 2015, "Understanding Neural Networks Through Deep
Visualization", section 3, with the steps in the order of its Deep Visualization Toolbox. Step t::

    x    = settle(clip(x, black, white))
    a, g = activation(transform(x, t)), and its gradient with respect to x
    x    = regularize(x + rate * direction(x, g), g, t)

Each part is a module of its own:

=====================================  =================================================
`deepvis_caffe.optimizer.targets`      what is maximized in a layer: ``units -> targets``
`...objectives`                        what is maximized in several: ``values -> number, diffs``
`...readers`                           both: ``x -> activation``, and its gradient
`...transforms`                        what the net is shown: ``(x, t) -> seen, adjoint``
`...parameterizations`                 where the step goes: ``(x, g) -> direction``
`...rates`                             how far it goes: ``gradient info -> rate``
`...regularizers`                      regularization: ``(x, g, t) -> x``
`...result`                            what is recorded for each image
=====================================  =================================================

The paper has no transforms and optimizes pixels, so by default `transform`, `direction` and
`settle` are the identity.
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
CHECK_EVERY = 16  # steps between checks of which images still run; each one synchronizes a GPU


def ascend(
    batch: BatchInfo,
    read: Reader,
    x: Floats,
    params: AscentParams,
    after_step: Callable[[int, Any], bool] = lambda t, x: True,
    redirects: int = 0,
) -> list[Track]:
    """Maximize an objective from a batch of first images, each image independently.

    An image stops when its gradient is exactly 0, or its activation or gradient is not finite. From
    then on nothing is recorded for it; the others continue.

    Behind a ReLU an inactive unit has no gradient. Its image follows the redirected gradient, which
    activates the unit, for at most `redirects` steps.

    Parameters
    ----------
    batch
        The images' seeds, from which random transforms are drawn, and their units: diversity acts
        among the images of one unit. The preprocessor is for the part of the input that `x` covers.
    read
        What to maximize, for as many images as `x` has.
    x
        (N, C, H, W), the first images, in the net's units.
    params
        Operators, rate and number of steps.
    after_step
        Called at the end of each step with its number and the engine's own array of images, before
        any transform. Returning False cancels the ascent. No array that belongs to the net is in
        use at that time: the net may run other inputs, of any shape.
    redirects
        Maximum number of steps for which an image without a gradient follows the redirected one.
        Finding such images synchronizes a GPU, so the loop looks for them at the first step, at
        each step after one that found some, and otherwise every `CHECK_EVERY` steps.

    Returns
    -------
    list of Track
        One per image: its best x, its history, and why it stopped.
    """
    ops, preprocessor = batch.ops, batch.preprocessor
    xp, small = ops.xp, ops.for_numbers.xp  # `small`: for arrays with one number per image
    # Broadcast to the image's size: torch's clip is 3 times slower with per-channel bounds.
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
        """The step's direction, and its largest magnitude (N,)."""
        direction = form.direction(x, gradient)
        highest, lowest = xp.amax(direction, axis=(1, 2, 3)), xp.amin(direction, axis=(1, 2, 3))
        return direction, small.maximum(ops.numbers(highest), -ops.numbers(lowest))

    with np.errstate(all="ignore"):  # an image that has stopped may overflow
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
                own = gradient * 1  # a copy: it may be the net's own memory
                seen, adjoint = transform(x, t)  # an adjoint can be used only once
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
                # Otherwise 0 / 0 for an image without a gradient; and for NaN, the backward pass of
                # Caffe's max pooling writes out of bounds.
                rate = small.where(largest > 0, rate, small.zeros_like(rate))[:, None, None, None]
                x = x + xp.asarray(rate) * direction
                x = regularize(x, gradient, t)
            # Do not read `activation` and `gradient` after this: they may be the net's own memory.
            if not after_step(t, before):
                return tracker.tracks(cancelled=t < last)
            if ends:
                break
    return tracker.tracks()

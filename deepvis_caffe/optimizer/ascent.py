"""The ascent itself: ``(net, layer, objective, x, params) -> tracks``. Read this first.

Whether a unit is the highest of its layer takes all the layer's channels, and at the end of a
classifier they are a tenth of a step. But a unit that lies below one other is not the highest,
whatever the rest do. So, where looking is free, each image's unit is compared with the channels
that were the highest when all were read last, its rivals; all are read again when a unit beats
those. Once every image has been on top there is nothing more to compare with.

Yosinski et al. 2015, "Understanding Neural Networks Through Deep Visualization", section 3, in the
order of steps of its Deep Visualization Toolbox: climb the gradient of a unit's activation, and
after every step pull the image a little towards pictures that people can read. What came after the
paper is in three places, and does nothing unless asked for: what the net is shown
(`deepvis_caffe.optimizer.transforms`), where a step goes (`...preconditioner`), and further
regularizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.optimizer.objectives import Objective, Reading
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.preconditioner import preconditioner
from deepvis_caffe.optimizer.rates import Slope
from deepvis_caffe.optimizer.regularizers import regularizer
from deepvis_caffe.optimizer.result import Floats, Record, Track
from deepvis_caffe.optimizer.transforms import random_views

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.preprocess import Preprocessor


FEW = 4  # rivals are worth their while where at most one channel in so many is read


class Reader:
    """Reads what an objective raises, exactly; a step's images after another's.

    Parameters
    ----------
    net, layer
        As in `Net.evaluate`.
    objective
        What is raised, of all channels.
    """

    def __init__(self, net: Net, layer: str, objective: Objective) -> None:
        self._net, self._layer, self._whole = net, layer, objective
        saves = net.saves_channels(layer)
        self._has_rivals = saves and net.ops.on_host
        self._part: Objective | None = None  # what is read in place of the whole
        self._settled = not saves  # whether there is nothing to look for any more
        self._undecided: Any = None  # of which images the part is to tell that they are not on top
        self._highest: Any = None  # channels, when the whole was read last
        self._rivals: set[int] = set()

    def __call__(self, x: Any) -> Reading:
        """For images (N, C, H, W), with those on top that are known to be for the first time.

        `Net.input_gradient` takes the reading's diff.
        """
        if self._part is not None:
            reading = self._read(x, self._part)
            if self._undecided is None or not bool((reading.on_top & self._undecided).any()):
                return reading._replace(on_top=reading.on_top & False)
            self._part = None  # until the next look: who beats some soon beats others
        reading = self._read(x, self._whole)
        self._highest = reading.highest
        return reading

    def look(self, undecided: Any) -> None:
        """Hear which images (N,) run and have not been on top yet; this waits for the device."""
        if self._settled:
            return
        if not bool(undecided.any()):
            self._settled = True
            self._set_part(self._whole.narrowed(), None)
        elif self._part is not None:
            self._undecided = undecided
        elif self._has_rivals and self._highest is not None:
            now = set(self._highest[undecided].tolist())
            # Those of before stay as long as there is room: they take turns.
            for rivals in (self._rivals | now, now):
                part = self._whole.narrowed(rivals)
                if part.channels and FEW * len(part.channels) <= self._whole.count:
                    self._set_part(part, undecided)
                    self._rivals = rivals
                    break

    def _set_part(self, part: Objective, undecided: Any) -> None:
        self._part = None if part is self._whole else part
        self._undecided = undecided

    def _read(self, x: Any, objective: Objective) -> Reading:
        return objective(self._net.evaluate(x, self._layer, objective.channels))


LOOK_EVERY = 16  # steps between two looks at how the images are: on a GPU a look waits


def ascend(
    net: Net,
    layer: str,
    objective: Objective,
    x: Floats,
    params: AscentParams,
    after_step: Callable[[int, Any], bool] = lambda t, x: True,
    preprocessor: Preprocessor | None = None,
    runs: Sequence[tuple[int, int]] = (),
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
        Called at the end of each step with its number and the images that the net saw at it, the
        engine's own array, each still whole where views were shown; the ascent is cancelled where
        it returns False. No array that belongs to the net is in use then: the net may run other
        inputs, of any shape, in between.
    preprocessor
        Of the part of the input that `x` holds; the net's own where that is all of it.
    runs
        The (unit, seed) of each image: random views are drawn from the seed, and diversity holds
        among the images of one unit. By default all of one unit, seeds 0, 1, 2, ...

    Returns
    -------
    list of Track
        One an image: the best x, the history, and why it ended.
    """
    ops, preprocessor = net.ops, preprocessor or net.preprocessor
    xp, few = ops.xp, ops.for_numbers.xp
    # As large as an image: torch takes three times as long to clip by one number a channel.
    low, high = (
        ops.asarray(np.broadcast_to(end, x.shape[1:]))
        for end in (preprocessor.low, preprocessor.high)
    )
    units, seeds = zip(*(runs or [(0, seed) for seed in range(len(x))]), strict=True)
    height, width = x.shape[2:]
    view = random_views(params, ops, seeds, height, width)
    steer = preconditioner(params, ops, preprocessor.channel_swap or (), height, width)
    regularize = regularizer(params, ops, height, width, preprocessor.pixel_scale, units)
    x = ops.asarray(x)
    record = Record(ops, x, params.iterations, params.push, latest=params.moves)
    read = Reader(net, layer, objective)
    last = params.iterations - 1
    with np.errstate(all="ignore"):  # images that have ended may go anywhere, to infinity too
        for t in range(params.iterations):
            shown = x = xp.clip(x, low, high)
            seen, back = view(x, t)
            activation, on_top, diff, _ = read(seen)
            record.see(t, x, activation, on_top)
            gradient = back(net.input_gradient(diff))
            direction = steer(gradient)
            steepest = few.maximum(
                ops.numbers(xp.amax(direction, axis=(1, 2, 3))),
                -ops.numbers(xp.amin(direction, axis=(1, 2, 3))),
            )
            record.feel(steepest)
            look = t % LOOK_EVERY == 0
            ends = t == last or (look and record.all_ended())
            if not ends:
                if look:
                    read.look(record.undecided())
                slope = Slope(
                    gradient=gradient,
                    direction=direction,
                    steepest=steepest,
                    activation=activation,
                    pixel_scale=preprocessor.pixel_scale,
                    ops=ops,
                )
                lr = few.asarray(params.rate(slope), dtype=few.float32)[:, None, None, None]
                x = x + xp.asarray(lr) * direction
                x = regularize(x, gradient, t)
            # Values and gradient may be the net's own memory; from here on only images are needed.
            if not after_step(t, shown):
                return record.tracks(cancelled=t < last)
            if ends:
                break
    return record.tracks()

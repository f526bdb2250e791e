"""What an ascent yields: the track of each image, a step while it runs, and the results.

Everything stays on the engine's own device, under masks, so that no step has to wait until the host
has read a result. Numbers are arrays of ``ops.for_numbers``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.image import Picture, encode_png
from deepvis_caffe.model.input_window import Box
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer.objectives import Position, UnitName
from deepvis_caffe.optimizer.params import AscentParams

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


Floats = NDArray[np.float32]
Stop = Literal["finished", "zero gradient", "not finite", "cancelled"]

_RUNNING, _ZERO, _NOT_FINITE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class MetTop:
    """The first x for which the unit was the highest of its layer, at the same position.

    Attributes
    ----------
    iteration
        The step, from 0.
    image
        (C, H, W), in the net's units.
    """

    iteration: int
    image: Floats = field(repr=False)


@dataclass(frozen=True, eq=False)
class Track:
    """One image's ascent, on the host.

    Attributes
    ----------
    image
        (C, H, W), the best x; the start where no step had a finite activation.
    objective
        (steps,), the activation at each step that was run.
    best_iteration
        The step of the best x; None where there is none.
    met_top
        The first x for which the unit was the highest of its layer, or None.
    stop
        Why it ended.
    """

    image: Floats
    objective: Floats
    best_iteration: int | None
    met_top: MetTop | None
    stop: Stop


class Record:
    """The memory of a batch while it runs.

    Parameters
    ----------
    ops
        Operations of the engine's arrays.
    x
        (N, C, H, W), the first images.
    iterations
        The most steps there will be.
    push
        1 where the highest activation is the best, -1 where the lowest is.
    latest
        Whether the latest x counts as the best instead: where the net is shown random views of x,
        an activation says as much about the view as about x.
    """

    def __init__(
        self, ops: ArrayOps, x: Any, iterations: int, push: int, latest: bool = False
    ) -> None:
        self._ops, self._push, self._latest = ops, push, latest
        count, few = len(x), ops.for_numbers
        self._xp = few.xp
        self._stop = few.asarray(np.full(count, _RUNNING), np.int64)
        self._steps = few.asarray(np.zeros(count), np.int64)
        self._history = few.asarray(np.zeros((iterations, count)))
        self._best = few.asarray(np.full(count, -np.inf))
        self._best_step = few.asarray(np.full(count, -1), np.int64)
        self._top_step = few.asarray(np.full(count, -1), np.int64)
        self._best_x, self._top_x = x, x

    def see(self, t: int, x: Any, activation: Any, on_top: Any) -> None:
        """Remember step `t`: x (N, C, H, W), the activations (N,), and which are on top (N,)."""
        where = self._xp.where
        self._end(~self._xp.isfinite(activation), _NOT_FINITE)
        running = self._stop == _RUNNING
        self._history[t] = activation
        self._steps += running
        reached = activation if self._push == 1 else self._push * activation
        better = running if self._latest else running & (reached > self._best)
        self._best = where(better, reached, self._best)
        self._best_step = where(better, t, self._best_step)
        self._best_x = self._replace(better, x, self._best_x)
        first = running & on_top & (self._top_step < 0)
        self._top_step = where(first, t, self._top_step)
        self._top_x = self._replace(first, x, self._top_x)

    def feel(self, steepest: Any) -> None:
        """End the images whose gradient is all 0 or not finite; `steepest` is its maximum (N,)."""
        self._end(steepest == 0, _ZERO)
        self._end(~self._xp.isfinite(steepest), _NOT_FINITE)

    def all_ended(self) -> bool:
        """Whether no image is running any more; this waits for the device."""
        return not bool((self._stop == _RUNNING).any())

    def undecided(self) -> Any:
        """Which images (N,) run, and have not been on top."""
        return (self._stop == _RUNNING) & (self._top_step < 0)

    def tracks(self, cancelled: bool = False) -> list[Track]:
        """Everything remembered, one track an image, copied to the host."""
        numpy, few = self._ops.numpy, self._ops.for_numbers.numpy
        stop, steps, history = few(self._stop), few(self._steps), few(self._history)
        best_step, best_x = few(self._best_step), numpy(self._best_x)
        top_step, top_x = few(self._top_step), numpy(self._top_x)
        end: Stop = "cancelled" if cancelled else "finished"
        reasons: dict[int, Stop] = {
            _RUNNING: end,
            _ZERO: "zero gradient",
            _NOT_FINITE: "not finite",
        }
        return [
            Track(
                image=best_x[i].copy(),
                objective=history[: steps[i], i].copy(),
                best_iteration=int(best_step[i]) if best_step[i] >= 0 else None,
                met_top=MetTop(int(top_step[i]), top_x[i].copy()) if top_step[i] >= 0 else None,
                stop=reasons[int(stop[i])],
            )
            for i in range(len(stop))
        ]

    def _replace(self, which: Any, x: Any, kept: Any) -> Any:
        """`kept` with the images of `x` that `which` (N,) names."""
        if self._ops.on_host:  # looking is free there, and most steps have nothing to copy
            if not which.any():
                return kept
            if which.all():
                return x
        xp = self._ops.xp
        return xp.where(xp.asarray(which)[:, None, None, None], x, kept)

    def _end(self, which: Any, reason: int) -> None:
        if self._ops.on_host and not which.any():
            return
        running = self._stop == _RUNNING
        self._stop = self._xp.where(running & which, reason, self._stop)


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a batch of ascents, as `optimize` shows it to `watch`.

    It may be kept: the loop makes new images at each step and never writes into these.

    Attributes
    ----------
    step
        Its number, from 0.
    x
        The images that the net saw at it, (N, C, H, W), the engine's own array; where the net is
        shown random views, those that the views were taken of. Images that have ended may hold
        anything.
    steps
        How many there are, unless every image ends before.
    runs
        (unit, seed) of each image; the unit by its name, as in `AscentResult`.
    window
        The part of the net's input that they are, (top, left, bottom, right); None for all of it.
    net, preprocessor
        Whose the images are, and what turns them into pictures.
    """

    step: int
    x: Any = field(repr=False)
    steps: int
    runs: Sequence[tuple[UnitName, int]]
    window: Box | None
    net: Net = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)

    def images(self) -> Floats:
        """A copy of the images on the host, (N, C, H, W) float32; on a GPU this waits for it."""
        return self.net.ops.numpy(self.x)

    def pictures(self, symmetric: bool = False) -> list[Picture]:
        """The images as pictures, (H, W, 3) RGB uint8 each: plus mean, or scaled about 0."""
        show = self.preprocessor.show_symmetric if symmetric else self.preprocessor.show
        return [show(image) for image in self.images()]


SHOWN = 36  # results that a notebook shows


@dataclass(frozen=True, eq=False)
class AscentResult:
    """The outcome of one ascent.

    Attributes
    ----------
    layer, seed, position
        As they were asked for.
    unit
        The channel; of another target its name, see `deepvis_caffe.optimizer.objectives.name_of`.
    image
        The best x, (C, H, W) float32: the net's units and channel order, mean subtracted.
    window
        The part of the net's input that `image` is, (top, left, bottom, right) in pixels, ends
        excluded; None where it is all of it.
    objective
        (steps,) float32, the unit's activation at every step; of the whole channel its sum.
    best_iteration
        The step of `image`: of the highest activation, the lowest where ``params.push`` is -1. None
        where no activation was finite; `image` is then the start.
    met_top
        The first x for which the unit was the highest of its layer; None where it never was.
    stop
        ``"finished"``, ``"zero gradient"`` (exactly 0: nothing to climb, as below a dead unit),
        ``"not finite"`` (an activation or gradient became NaN or infinite) or ``"cancelled"``.
    params
        What the ascent did.
    engine, version
        Which engine ran it, of which version of this package.
    preprocessor
        Turns `image` into pictures.
    """

    layer: str
    unit: UnitName
    seed: int
    position: Position
    image: Floats = field(repr=False)
    window: Box | None
    objective: Floats = field(repr=False)
    best_iteration: int | None
    met_top: MetTop | None
    stop: Stop
    params: AscentParams
    engine: str
    version: str
    preprocessor: Preprocessor = field(repr=False)

    @property
    def best_value(self) -> float:
        """The activation of `image`; NaN where none was finite."""
        best = self.best_iteration
        return float("nan") if best is None else float(self.objective[best])

    def picture(self) -> Picture:
        """The best x plus the mean, (H, W, 3) RGB uint8 (the toolbox's ``best_Xpm``)."""
        return self.preprocessor.show(self.image)

    def symmetric_picture(self) -> Picture:
        """The best x scaled about 0, so that 0 is mid-gray (the toolbox's ``best_X``)."""
        return self.preprocessor.show_symmetric(self.image)

    def record(self) -> dict[str, Any]:
        """Everything but the images, in JSON's types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "seed": self.seed,
            "position": self.position if isinstance(self.position, str) else [*self.position],
            "window": self.window and [*self.window],
            "best_iteration": self.best_iteration,
            "best_value": self.best_value,
            "met_top_iteration": self.met_top.iteration if self.met_top else None,
            "stop": self.stop,
            "params": self.params.record(),
            "engine": self.engine,
            "version": self.version,
            "objective": [float(value) for value in self.objective],
        }

    def _repr_png_(self) -> bytes:
        return encode_png(self.picture())

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}">'
            for picture in (self.picture(), self.symmetric_picture())
        )
        best = "none" if self.best_iteration is None else f"step {self.best_iteration}"
        caption = (
            f"{escape(self.layer)} unit {self.unit}, seed {self.seed}: {self.best_value:.4g} "
            f"(best: {best} of {len(self.objective)}, {self.stop})"
        )
        return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


class AscentResults(list[AscentResult]):
    """Results in order; in a notebook the first `SHOWN` of them show themselves."""

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        shown = "".join(result._repr_html_() for result in self[:SHOWN])
        return shown + (f"<p>and {more:,} more</p>" if more > 0 else "")

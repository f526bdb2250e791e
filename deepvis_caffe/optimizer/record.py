"""What an ascent remembers of each image: its history, its best, and how it ended.

Everything stays on the engine's own device, under masks, so that no step has to wait until the host
has read a result. Numbers are arrays of ``ops.for_numbers``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps

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

"""What an ascent yields: ``(t, x, activation, ...) -> tracks``, snapshots and results.

`Tracker`
    State recorded per image while a batch runs. It stays on the engine's device, so that no step
    has to synchronize with the host.
`Track`
    What the tracker recorded for one image, on the host.
`Snapshot`
    One step of a batch, for a caller that watches it.
`AscentResult`
    What `optimize` returns for one unit and seed: a track, with its parameters.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.image import Floats, Picture, encode_png, legible
from deepvis_caffe.model.input_window import Box
from deepvis_caffe.model.labels import unit_title
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.targets import Position, UnitName

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


Stop = Literal["finished", "zero gradient", "not finite", "cancelled"]

_RUNNING, _ZERO, _NOT_FINITE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class FirstTop:
    """The first x for which the unit was the highest of its layer, at the same position.

    Attributes
    ----------
    iteration
        The step, from 0.
    image
        (C, H, W), in the net's units; None if the run was read from a folder.
    """

    iteration: int
    image: Floats | None = field(repr=False)


class _Traced:
    """Mixin with the name that `activations` had in earlier versions."""

    activations: Floats

    @property
    def objective(self) -> Floats:
        """Deprecated: `activations`. An objective is what is maximized."""
        warnings.warn(
            f"{type(self).__name__}.objective is now called activations: the objective is what is "
            "maximized, and these are its values",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.activations


@dataclass(frozen=True, eq=False)
class Track(_Traced):
    """One image's ascent, on the host.

    Attributes
    ----------
    image
        (C, H, W), the best x; the start if no step had a finite activation.
    activations
        (steps,), the activation at each step that ran.
    best_iteration
        The step of the best x; None if there is none.
    first_top
        The first x for which the unit was the highest of its layer, or None.
    stop
        Why it stopped.
    redirected_steps
        Number of steps at which it had no gradient and followed the redirected one.
    """

    image: Floats
    activations: Floats
    best_iteration: int | None
    first_top: FirstTop | None
    stop: Stop
    redirected_steps: int = 0


class Tracker:
    """The state of a running batch of ascents.

    Numbers per image are arrays of ``ops.for_numbers``.

    Parameters
    ----------
    ops
        Operations on the engine's arrays.
    x
        (N, C, H, W), the first images.
    iterations
        The maximum number of steps.
    sign
        1 if the highest activation is the best, -1 if the lowest is.
    latest
        Whether the latest x counts as the best instead: with random transforms an activation tells
        as much about the transform as about x.
    """

    def __init__(
        self, ops: ArrayOps, x: Any, iterations: int, sign: int, latest: bool = False
    ) -> None:
        self._ops, self._sign, self._latest = ops, sign, latest
        count, small = len(x), ops.for_numbers
        self._xp = small.xp
        self._stop = small.asarray(np.full(count, _RUNNING), np.int64)
        self._steps = small.asarray(np.zeros(count), np.int64)
        self._history = small.asarray(np.zeros((iterations, count)))
        self._best = small.asarray(np.full(count, -np.inf))
        self._best_step = small.asarray(np.full(count, -1), np.int64)
        self._top_step = small.asarray(np.full(count, -1), np.int64)
        self._redirected = small.asarray(np.zeros(count), np.int64)
        self._best_x, self._top_x = x, x

    def add(self, t: int, x: Any, activation: Any, on_top: Any) -> None:
        """Add step `t`: x (N, C, H, W), the activations (N,), and which are on top (N,)."""
        where = self._xp.where
        self._end(~self._xp.isfinite(activation), _NOT_FINITE)
        running = self._stop == _RUNNING
        self._history[t] = activation
        self._steps += running
        reached = activation if self._sign == 1 else self._sign * activation
        better = running if self._latest else running & (reached > self._best)
        self._best = where(better, reached, self._best)
        self._best_step = where(better, t, self._best_step)
        self._best_x = self._replace(better, x, self._best_x)
        first = running & on_top & (self._top_step < 0)
        self._top_step = where(first, t, self._top_step)
        self._top_x = self._replace(first, x, self._top_x)

    def redirected(self, largest: Any, most: int) -> NDArray[np.bool_]:
        """Which images (N,), on the host, should follow the redirected gradient at this step.

        These are running images whose gradient, of `largest` magnitude (N,), is all 0, unless they
        have already done so for `most` steps.
        """
        silent = (self._stop == _RUNNING) & (largest == 0) & (self._redirected < most)
        self._redirected += silent
        found: NDArray[np.bool_] = self._ops.for_numbers.numpy(silent)
        return found

    def end_without_gradient(self, largest: Any) -> None:
        """Stop the images whose gradient, of `largest` magnitude (N,), is all 0 or not finite."""
        self._end(largest == 0, _ZERO)
        self._end(~self._xp.isfinite(largest), _NOT_FINITE)

    def check(self) -> tuple[bool, Any]:
        """Whether all images have stopped, and which (N,) still run and were never on top.

        Both are on the host, in a single copy, which synchronizes the device.
        """
        running = self._stop == _RUNNING
        both = self._ops.for_numbers.numpy(
            self._xp.stack([running, running & (self._top_step < 0)])
        )
        return not both[0].any(), both[1]

    def tracks(self, cancelled: bool = False) -> list[Track]:
        """One track per image, copied to the host."""
        numpy, small = self._ops.numpy, self._ops.for_numbers.numpy
        stop, steps, history = small(self._stop), small(self._steps), small(self._history)
        redirected = small(self._redirected)
        best_step, best_x = small(self._best_step), numpy(self._best_x)
        top_step, top_x = small(self._top_step), numpy(self._top_x)
        end: Stop = "cancelled" if cancelled else "finished"
        reasons: dict[int, Stop] = {
            _RUNNING: end,
            _ZERO: "zero gradient",
            _NOT_FINITE: "not finite",
        }
        return [
            Track(
                image=best_x[i].copy(),
                activations=history[: steps[i], i].copy(),
                best_iteration=int(best_step[i]) if best_step[i] >= 0 else None,
                first_top=FirstTop(int(top_step[i]), top_x[i].copy()) if top_step[i] >= 0 else None,
                stop=reasons[int(stop[i])],
                redirected_steps=int(redirected[i]),
            )
            for i in range(len(stop))
        ]

    def _replace(self, which: Any, x: Any, kept: Any) -> Any:
        """`kept`, with the images that `which` (N,) selects replaced by those of `x`."""
        if self._ops.on_host:  # reading `which` is free there, and usually nothing needs copying
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
class Snapshot:
    """One step of a batch of ascents, as `optimize` passes it to `watch`.

    It may be kept: the loop makes new images at each step and never writes into these.

    Attributes
    ----------
    step
        Its number, from 0.
    x
        The images at that step, (N, C, H, W), before any random transform; the engine's own array.
        Images that have stopped may hold anything.
    steps
        Number of steps, unless every image stops earlier.
    runs
        (unit, seed) of each image; the unit by its name, as in `AscentResult`.
    window
        The part of the net's input that the images cover, (top, left, bottom, right); None for all
        of it.
    net, preprocessor
        The net that runs them, and the preprocessor that turns them into pictures.
    """

    step: int
    x: Any = field(repr=False)
    steps: int
    runs: Sequence[tuple[UnitName, int]]
    window: Box | None
    net: Net = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)

    def images(self) -> Floats:
        """A copy of the images on the host, (N, C, H, W) float32; synchronizes a GPU."""
        return self.net.ops.numpy(self.x)

    def pictures(self, symmetric: bool = False) -> list[Picture]:
        """The images as pictures, (H, W, 3) RGB uint8 each: plus the mean, or scaled about 0."""
        show = self.preprocessor.show_symmetric if symmetric else self.preprocessor.show
        return [show(image) for image in self.images()]


def is_silent(stop: Any, activations: Any) -> bool:
    """Whether an ascent stopped for lack of a gradient, and its activation never changed."""
    return stop == "zero gradient" and all(one == activations[0] for one in activations)


SHOWN = 36  # results that a notebook displays


@dataclass(frozen=True, eq=False)
class AscentResult(_Traced):
    """The outcome of one ascent.

    Attributes
    ----------
    layer, seed, position
        The arguments of `optimize`.
    unit
        The channel, or the name of another target, see `deepvis_caffe.optimizer.targets.name_of`.
    image
        The best x, (C, H, W) float32: the net's units and channel order, mean subtracted.
    window
        The part of the net's input that `image` covers, (top, left, bottom, right) in pixels, ends
        excluded; None for all of it.
    activations
        (steps,) float32, the unit's activation at every step; for a whole channel, its sum.
    best_iteration
        The step of `image`. Without random transforms, the one with the highest activation (the
        lowest if ``params.sign`` is -1); with them, the last one. None if no activation was finite;
        `image` is then the start.
    first_top
        The first x for which the unit was the highest of its layer; None if it never was.
    stop
        ``"finished"``, ``"zero gradient"`` (exactly 0, as for a dead unit), ``"not finite"`` (an
        activation or gradient became NaN or infinite) or ``"cancelled"``.
    params
        The parameters of the ascent.
    engine, version
        The engine that ran it, and the version of this package.
    preprocessor
        Turns `image` into pictures.
    objective_text
        The objective, if it is more than a target of one layer; empty for units.
    label
        The unit's label, if it has one.
    computed
        What else the last bits depend on: `deepvis_caffe.engines.computed.computed_by`,
        ``"batch"``, the batch size, and whether it is ``"reproducible"``.
    redirected_steps
        Number of steps at which its unit was inactive behind a ReLU, so that the image followed the
        redirected gradient.
    started_from
        If that did not help, the start that replaced ``params.start``, one of the unit's top
        images: ``"top_image"``, its name; ``"file"``; ``"value"``, its activation; and
        ``"digest"``, that of the first image.
    """

    layer: str
    unit: UnitName
    seed: int
    position: Position
    image: Floats = field(repr=False)
    window: Box | None
    activations: Floats = field(repr=False)
    best_iteration: int | None
    first_top: FirstTop | None
    stop: Stop
    params: AscentParams
    engine: str
    version: str
    preprocessor: Preprocessor = field(repr=False)
    objective_text: str = ""
    label: str | None = None
    computed: Mapping[str, Any] = field(default_factory=dict, repr=False)
    redirected_steps: int = 0
    started_from: Mapping[str, Any] | None = None

    @property
    def silent(self) -> bool:
        """Whether it stopped for lack of a gradient, and its activation never changed."""
        return is_silent(self.stop, self.activations)

    @property
    def met_top(self) -> FirstTop | None:
        """The name of `first_top` in earlier versions."""
        return self.first_top

    @property
    def title(self) -> str:
        """What was maximized, in words."""
        return self.objective_text or unit_title(self.layer, self.unit, self.label)

    @property
    def best_value(self) -> float:
        """The activation of `image`; NaN if none was finite."""
        best = self.best_iteration
        return float("nan") if best is None else float(self.activations[best])

    def picture(self) -> Picture:
        """The best x plus the mean, (H, W, 3) RGB uint8 (the toolbox's ``best_Xpm``)."""
        return self.preprocessor.show(self.image)

    def symmetric_picture(self) -> Picture:
        """The best x scaled about 0, so that 0 is mid-gray (the toolbox's ``best_X``)."""
        return self.preprocessor.show_symmetric(self.image)

    def record(self) -> dict[str, Any]:
        """Everything but the images, as JSON types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "seed": self.seed,
            "position": self.position if isinstance(self.position, str) else [*self.position],
            "window": self.window and [*self.window],
            "best_iteration": self.best_iteration,
            "best_value": self.best_value,
            "met_top_iteration": self.first_top.iteration if self.first_top else None,
            "stop": self.stop,
            "params": self.params.record(),
            "engine": self.engine,
            "version": self.version,
            "computed": dict(self.computed),
            "redirected_steps": self.redirected_steps,
            **({"started_from": dict(self.started_from)} if self.started_from else {}),
            "objective": [float(value) for value in self.activations],  # the key in all records
            **({"goal": self.objective_text} if self.objective_text else {}),
        }

    def _repr_png_(self) -> bytes:
        return encode_png(legible(self.picture()))

    def _repr_html_(self) -> str:
        pictures = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}">'
            for picture in map(legible, (self.picture(), self.symmetric_picture()))
        )
        best = "none" if self.best_iteration is None else f"step {self.best_iteration}"
        caption = (
            f"{escape(self.title)}, seed {self.seed}: {self.best_value:.4g} "
            f"(best: {best} of {len(self.activations)}, {self.stop})"
        )
        return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


class AscentResults(list[AscentResult]):
    """Results in order; a notebook displays the first `SHOWN` of them."""

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        shown = "".join(result._repr_html_() for result in self[:SHOWN])
        return shown + (f"<p>and {more:,} more</p>" if more > 0 else "")

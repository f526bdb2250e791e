"""The optimizer's front door: ``(net, layer, units, seeds) -> results``, in batches."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

import deepvis_caffe
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.input_window import Window, window_of
from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.batching import resolve_batch_size, split, unit_shape
from deepvis_caffe.optimizer.objectives import (
    LAYER,
    Direction,
    Objective,
    Position,
    check_targets,
    name_of,
    plain_position,
    resolve_position,
)
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, GRAY_LEVELS
from deepvis_caffe.optimizer.presets import preset as preset_params
from deepvis_caffe.optimizer.rates import Constant, Rate
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, Step
from deepvis_caffe.optimizer.start import first_images

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

Crop = Literal["auto", "off"]


def optimize(
    net: Net,
    layer: str,
    units: int | str | Direction | Iterable[Any],
    seeds: int | Iterable[int] = (0,),
    preset: int | str | AscentParams = 3,
    position: Position = "center",
    iterations: int | None = None,
    rate: Rate | float | str = "auto",
    batch_size: int | None = None,
    crop: Crop = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    watch: Callable[[Step], None] | None = None,
    **changes: Any,
) -> AscentResults:
    """Find images that excite units: regularized gradient ascent from random starts.

    Parameters
    ----------
    net
        From `load_net`.
    layer
        A layer's name: its own top, before any in-place layer after it, so that ``conv1`` is seen
        below its ReLU. Or a blob's name.
    units
        Channels of that layer; or, in their place, sums of channels, directions and the whole
        layer, see `deepvis_caffe.optimizer.objectives`.
    seeds
        Each starts another image of every unit.
    preset
        1 to 4, the paper's sets of regularizers; the name of another in `PRESETS`; or parameters of
        your own.
    position
        Where in a channel's map: ``"center"``, (y, x), or ``"all"`` for the whole channel, whose
        sum is raised. A layer without maps takes "center" and "all" alike.
    iterations
        Number of steps; by default 300 for presets 1 to 4 with the "auto" rate, and else the
        preset's.
    rate
        ``"auto"``, `GrayLevels`, steps as far in every net and layer; ``"paper"`` is the
        preset's own rate; a number is a constant rate; or any `Rate`. With parameters of your own
        both words mean the rate that they hold.
    batch_size
        The most images at a time, by default as many as gain from it. Results do not depend on it,
        but for rounding: a net that does not keep the images of a batch apart runs them one by one.
        With `diversity` a unit's seeds stay in one batch.
    crop
        ``"auto"`` runs a unit of a convolution on the window that it sees, as part of the same
        first image and with the same value and gradient as on all of it; ``"off"`` runs, and
        returns, whole images.
    progress
        Called after every step with the image steps that are done and that there are in all.
    cancel
        Asked after every step; where it says True the images at work end as they are, and those
        not begun are left out.
    watch
        Called after every step, between `progress` and `cancel`, with what can be seen of it; see
        `deepvis_caffe.optimizer.result`. The net may be used for anything there: ``forward`` and
        ``backward`` of other images, of any size, change nothing in the result.
    **changes
        Fields of `AscentParams` to set in place of the preset's, for example ``blur_width=0.5``,
        ``start="mean"`` or ``push=-1``.

    Returns
    -------
    AscentResults
        A list of `AscentResult`: for each unit in turn, one a seed.

    Raises
    ------
    UnknownNameError
        Unknown layer, start or parameter.
    SettingsError
        A unit or position that the layer does not have, a parameter out of its range, or diversity
        on a net that mixes the images of a batch.
    """
    params = ascent_params(preset, rate, iterations, **changes)
    shape = unit_shape(net, layer)
    position = plain_position(position)
    where = resolve_position(position, shape, layer)
    chosen = check_targets(_listed("units", units), shape, layer)
    seeds = _checked_seeds(seeds)
    pairs, names = list(product(chosen, seeds)), [name_of(target) for target in chosen]
    if not pairs:
        return AscentResults()
    window = unit_window(net, layer, where, crop)
    preprocessor = net.preprocessor
    if window:
        preprocessor = preprocessor.cut(window.rows, window.columns)
        shape, where = (shape[0], *window.extent), window.where
    batch_size = resolve_batch_size(net, layer, batch_size, len(pairs), window)
    batches = split(pairs, batch_size)
    if params.diversity:  # it couples the images of a unit
        if resolve_batch_size(net, layer, 2, 2, window) == 1:
            raise SettingsError(
                "diversity needs a unit's images side by side, and this net mixes those of a "
                "batch: set diversity to 0"
            )
        batches = [
            list(product(some, seeds))
            for some in split(chosen, max(1, batch_size // max(len(seeds), 1)))
        ]
    meter = _Meter(params.iterations * len(pairs), progress, watch, cancel)
    box = window.box if window else None
    results = AscentResults()
    for batch in batches:
        end = meter.done + params.iterations * len(batch)
        objective = Objective(net.ops, [target for target, _ in batch], shape, where, params.push)
        start = first_images(params.start, [seed for _, seed in batch], net.preprocessor)
        if window:
            start = start[:, :, window.rows, window.columns]
        runs = [(names.index(name_of(target)), seed) for target, seed in batch]
        named = [(name_of(target), seed) for target, seed in batch]
        step_of = partial(
            Step,
            steps=params.iterations,
            runs=named,
            window=box,
            net=net,
            preprocessor=preprocessor,
        )
        tick = partial(meter.step, step_of)
        tracks = ascend(net, layer, objective, start, params, tick, preprocessor, runs)
        results += [
            AscentResult(
                layer=layer,
                unit=name_of(target),
                seed=seed,
                position=position,
                image=track.image,
                window=box,
                objective=track.objective,
                best_iteration=track.best_iteration,
                met_top=track.met_top,
                stop=track.stop,
                params=params,
                engine=net.engine,
                version=deepvis_caffe.__version__,
                preprocessor=preprocessor,
            )
            for (target, seed), track in zip(batch, tracks, strict=True)
        ]
        if meter.cancelled:
            break
        meter.skip_to(end)
    return results


def ascent_params(
    preset: int | str | AscentParams = 3,
    rate: Rate | float | str = "auto",
    iterations: int | None = None,
    **changes: Any,
) -> AscentParams:
    """The parameters that `optimize` runs with, for the same arguments."""
    params = preset if isinstance(preset, AscentParams) else preset_params(preset)
    # Parameters of one's own, and presets without a rate in gray levels, hold the rate they want.
    levels = None if isinstance(preset, AscentParams) else GRAY_LEVELS.get(preset)
    if iterations is not None:
        changes["iterations"] = iterations
    elif rate == "auto" and levels:
        changes["iterations"] = GRAY_LEVEL_STEPS
    if isinstance(rate, str):
        if rate not in ("auto", "paper"):
            raise SettingsError(
                f"rate must be 'auto', 'paper', a number or a rate such as Progress(100, 2); "
                f"got {rate!r}"
            )
        if rate == "auto" and levels:
            changes["rate"] = levels
    else:
        changes["rate"] = Constant(float(rate)) if isinstance(rate, numbers.Real) else rate
    chosen = params.but(**changes)
    idle = [name for name in ("blur_width", "blur_end") if changes.get(name) and not chosen.blurs]
    if idle:
        raise SettingsError(
            f"{' and '.join(idle)} would do nothing: blur_width is {chosen.blur_width} and "
            f"blur_every {chosen.blur_every}, and without both over 0 there is no blur"
        )
    return chosen


def unit_window(
    net: Net, layer: str, where: tuple[int, ...] | None, crop: Crop = "auto"
) -> Window | None:
    """The window of the input that a run is restricted to, or None."""
    if crop not in get_args(Crop):
        raise SettingsError(f"crop must be 'auto' or 'off'; got {crop!r}")
    return window_of(net.model, net.model.graph.seed(layer), where) if crop == "auto" else None


@dataclass
class _Meter:
    """Counts image steps, reports and shows them, and asks whether to go on."""

    total: int
    progress: Callable[[int, int], None] | None
    watch: Callable[[Step], None] | None
    cancel: Callable[[], bool] | None
    done: int = 0
    cancelled: bool = False

    def step(self, step_of: Callable[[int, Any], Step], t: int, x: Any) -> bool:
        self.skip_to(self.done + len(x))
        if self.watch:
            self.watch(step_of(t, x))
        self.cancelled = bool(self.cancel and self.cancel())
        return not self.cancelled

    def skip_to(self, done: int) -> None:
        """Where every image of a batch has ended early, its other steps count as done."""
        if done > self.done:
            self.done = done
            if self.progress:
                self.progress(done, self.total)


def _listed(name: str, items: Any) -> list[Any]:
    if isinstance(items, str) and items != LAYER:  # it would go by its digits
        raise SettingsError(f"{name} must be a number or a list of numbers; got {items!r}")
    single = isinstance(items, int | np.integer | str | Direction)
    return [items] if single else list(items)


def _checked_seeds(seeds: int | Iterable[int]) -> list[int]:
    listed = _listed("seeds", seeds)
    for seed in listed:
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
            raise SettingsError(
                f"a seed must be a whole number from 0 to {2**32 - 1}; got {seed!r}"
            )
    return [int(seed) for seed in listed]

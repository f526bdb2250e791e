"""`optimize`, the entry point: ``(net, layer, units, seeds) -> results``.

It checks the arguments and cuts the work into batches. `run_batch` restricts a batch to the part of
the input that its units see, runs the loop (`deepvis_caffe.optimizer.ascent`), and wraps up the
results.
"""

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
from deepvis_caffe.model.input_window import InputWindow, window_of
from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.batching import cut, resolve_batch_size
from deepvis_caffe.optimizer.objectives import (
    LAYER,
    Direction,
    Objective,
    Position,
    Target,
    UnitName,
    check_targets,
    name_of,
    plain_position,
    resolve_position,
)
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, GRAY_LEVELS
from deepvis_caffe.optimizer.presets import preset as preset_params
from deepvis_caffe.optimizer.rates import Constant, Rate
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, Snapshot
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.optimizer.start import first_images
from deepvis_caffe.optimizer.tiles import tiled_where_needed
from deepvis_caffe.progress import ProgressCallback, ProgressMeter

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

Crop = Literal["auto", "off"]


@dataclass(frozen=True)
class AscentBatch:
    """Ascents that run side by side.

    Attributes
    ----------
    runs
        The target and the seed of each.
    layer, params, position, crop
        As for `optimize`.
    """

    layer: str
    runs: tuple[tuple[Target, int], ...]
    params: AscentParams
    position: Position = "center"
    crop: Crop = "auto"

    @property
    def steps(self) -> int:
        """Image steps in all."""
        return len(self.runs) * self.params.iterations

    @property
    def names(self) -> tuple[UnitName, ...]:
        """The names of its units, each once."""
        return tuple(dict.fromkeys(name_of(target) for target, _ in self.runs))

    def __str__(self) -> str:
        seeds = dict.fromkeys(seed for _, seed in self.runs)
        units, seeds_ = (",".join(map(str, some)) for some in (self.names, seeds))
        return f"{self.layer}, units {units}, seeds {seeds_}"


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
    progress: ProgressCallback | None = None,
    cancel: Callable[[], bool] | None = None,
    watch: Callable[[Snapshot], None] | None = None,
    **changes: Any,
) -> AscentResults:
    """Find images that maximize units, by regularized gradient ascent from random starts.

    Parameters
    ----------
    net
        From `load_net`.
    layer
        A layer's or blob's name: its activation. Where in-place ReLUs come last in it, the values
        below them are maximized: they are the same for a unit that is on, and have a gradient for
        one that is off. ``conv1:raw`` is the layer's own output, before any in-place layer; see
        `deepvis_caffe.model.graph`.
    units
        Channels of that layer; or instead sums of channels, directions or the whole layer, see
        `deepvis_caffe.optimizer.objectives`.
    seeds
        Each makes another image of every unit.
    preset
        1 to 4, the paper's sets of regularizers; the name of another one in `PRESETS`; or
        `AscentParams`.
    position
        Where in a channel's map: ``"center"``, (y, x), or ``"all"`` for the sum of the whole
        channel. A layer without maps takes "center" and "all" alike.
    iterations
        Number of steps; by default 300 for presets 1 to 4 with the "auto" rate, otherwise the
        preset's.
    rate
        ``"auto"``: `GrayLevels`, which takes steps of the same size in every net and layer;
        ``"paper"``: the preset's own rate; a number: a constant rate; or any `Rate`. With
        `AscentParams` both words mean the rate that they hold.
    batch_size
        The most images at a time; by default measured. Results do not depend on it, but for
        rounding: if the output for one image depends on the rest of its batch, images run one by
        one. With `diversity` a unit's seeds stay in one batch.
    crop
        ``"auto"`` runs a unit of a convolution on the part of the input that it sees. The first
        image is cut from the same whole one; value and gradient are the same. ``"off"`` runs, and
        returns, whole images.
    progress
        Called after every step with the number of image steps done and their total.
    cancel
        Called after every step. Once it returns True, the running images end as they are, and
        those not begun are left out.
    watch
        Called after every step, between `progress` and `cancel`, with a `Snapshot`. It may use the
        net for anything: ``forward`` and ``backward`` of other images, of any size, do not change
        the result.
    **changes
        Fields of `AscentParams` that replace the preset's, for example ``blur_width=0.5``,
        ``start="mean"`` or ``sign=-1``.

    Returns
    -------
    AscentResults
        A list of `AscentResult`: unit by unit, one per seed.

    Raises
    ------
    UnknownNameError
        Unknown layer, start or parameter.
    SettingsError
        A unit or position that the layer does not have, a parameter out of its range, or diversity
        on a net whose output for one image depends on the rest of its batch.
    EngineError
        The layer cannot run, or has no gradient.
    """
    params = ascent_params(preset, rate, iterations, **changes)
    shape, index = _shape_and_index(net, layer, position)
    chosen = check_targets(_listed("units", units), shape, layer)
    runs = list(product(chosen, _checked_seeds(seeds)))
    if not runs:
        return AscentResults()
    window = unit_window(net, layer, index, crop)
    most = resolve_batch_size(net, layer, batch_size, len(runs), window)
    batches = [
        AscentBatch(layer, tuple(some), params, position, crop)
        for some in cut(runs, most, whole=params.diversity > 0)
    ]
    meter = ProgressMeter(progress, [batch.steps for batch in batches])
    cancelled = False

    def stops() -> bool:
        nonlocal cancelled
        cancelled = bool(cancel and cancel())
        return cancelled

    results = AscentResults()
    for number, batch in enumerate(batches):
        results += run_batch(net, batch, partial(meter.update, number), watch, stops)
        if cancelled:
            break
        meter.finish(number)
    return results


def run_batch(
    net: Net,
    batch: AscentBatch,
    progress: Callable[[int], None] = lambda done: None,
    watch: Callable[[Snapshot], None] | None = None,
    cancel: Callable[[], bool] = lambda: False,
) -> list[AscentResult]:
    """Run the ascents of one batch.

    Parameters
    ----------
    progress
        Called after every step with the number of image steps done.
    watch, cancel
        As for `optimize`.

    Returns
    -------
    list of AscentResult
        In the order of its runs.

    Raises
    ------
    UnknownNameError, SettingsError, EngineError
        As `optimize`.
    """
    layer, params = batch.layer, batch.params
    shape, index = _shape_and_index(net, layer, batch.position)
    targets = check_targets((target for target, _ in batch.runs), shape, layer)
    units, seeds = [name_of(target) for target in targets], [seed for _, seed in batch.runs]
    window = unit_window(net, layer, index, batch.crop)
    if params.diversity and resolve_batch_size(net, layer, 2, 2, window) == 1:
        raise SettingsError(
            "diversity needs a unit's images in one batch, and this net's outputs depend on "
            "the rest of the batch, so diversity cannot be used: set it to 0"
        )
    start = first_images(params.start, seeds, net.preprocessor)
    preprocessor = net.preprocessor
    if window:
        preprocessor = preprocessor.cut(window.rows, window.columns)
        start = start[:, :, window.rows, window.columns]
        shape, index = (shape[0], *window.extent), window.index
    box = window.box if window else None
    snapshot = partial(
        Snapshot,
        steps=params.iterations,
        runs=list(zip(units, seeds, strict=True)),
        window=box,
        net=net,
        preprocessor=preprocessor,
    )
    tracks = ascend(
        net if window else tiled_where_needed(net, layer, shape, len(start)),
        layer,
        Objective(net.ops, targets, shape, index, params.sign),
        start,
        params,
        _AfterStep(progress, snapshot, watch, cancel),
        preprocessor,
        [(units.index(unit), seed) for unit, seed in zip(units, seeds, strict=True)],
    )
    return [
        AscentResult(
            layer=layer,
            unit=unit,
            seed=seed,
            position=plain_position(batch.position),
            image=track.image,
            window=box,
            activations=track.activations,
            best_iteration=track.best_iteration,
            first_top=track.first_top,
            stop=track.stop,
            params=params,
            engine=net.engine,
            version=deepvis_caffe.__version__,
            preprocessor=preprocessor,
        )
        for unit, seed, track in zip(units, seeds, tracks, strict=True)
    ]


def ascent_params(
    preset: int | str | AscentParams = 3,
    rate: Rate | float | str = "auto",
    iterations: int | None = None,
    **changes: Any,
) -> AscentParams:
    """The parameters that `optimize` uses for the same arguments."""
    params = preset if isinstance(preset, AscentParams) else preset_params(preset)
    # AscentParams, and presets without an entry in GRAY_LEVELS, keep their own rate.
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
            f"{' and '.join(idle)} would have no effect: blur needs blur_width > 0 and "
            f"blur_every > 0; got {chosen.blur_width} and {chosen.blur_every}"
        )
    return chosen


def unit_window(
    net: Net, layer: str, index: tuple[int, ...] | None, crop: Crop = "auto"
) -> InputWindow | None:
    """The part of the input that an ascent is restricted to; None for all of it."""
    if crop not in get_args(Crop):
        raise SettingsError(f"crop must be 'auto' or 'off'; got {crop!r}")
    start = net.model.graph.gradient_start(layer)
    return window_of(net.model, start, index) if crop == "auto" else None


def _shape_and_index(
    net: Net, layer: str, position: Position
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The layer's shape without the batch axis, and the index that a position means in it."""
    net.check_gradient(layer)
    shape = unit_shape(net, layer)
    return shape, resolve_position(position, shape, layer)


@dataclass(frozen=True)
class _AfterStep:
    """Counts a batch's image steps, calls `watch`, and asks whether to go on."""

    count: Callable[[int], None]
    snapshot: Callable[[int, Any], Snapshot]
    watch: Callable[[Snapshot], None] | None
    cancel: Callable[[], bool]

    def __call__(self, t: int, x: Any) -> bool:
        self.count((t + 1) * len(x))
        if self.watch:
            self.watch(self.snapshot(t, x))
        return not self.cancel()


def _listed(name: str, items: Any) -> list[Any]:
    if isinstance(items, str) and items != LAYER:  # its digits would be taken one by one
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

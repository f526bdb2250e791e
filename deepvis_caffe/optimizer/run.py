"""The optimizer's front door: ``(net, layer, units, seeds) -> results``, in batches."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import deepvis_caffe
from deepvis_caffe.errors import EngineError, ModelError, SettingsError
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.objective import (
    Objective,
    Position,
    check_units,
    plain_position,
    resolve_position,
)
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, GRAY_LEVELS
from deepvis_caffe.optimizer.presets import preset as preset_params
from deepvis_caffe.optimizer.rates import Constant, Rate
from deepvis_caffe.optimizer.record import Track
from deepvis_caffe.optimizer.result import AscentResult
from deepvis_caffe.optimizer.start import first_images

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_ON_HOST, BATCH_ON_DEVICE = 8, 32


def optimize(
    net: Net,
    layer: str,
    units: int | Iterable[int],
    seeds: int | Iterable[int] = (0,),
    preset: int | str | AscentParams = 3,
    position: Position = "center",
    iterations: int | None = None,
    rate: Rate | float | str = "auto",
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    **changes: Any,
) -> list[AscentResult]:
    """Find images that excite units: regularized gradient ascent from random starts.

    Parameters
    ----------
    net
        From `load_net`.
    layer
        A layer's name: its own top, before any in-place layer after it, so that ``conv1`` is seen
        below its ReLU. Or a blob's name.
    units
        Channels of that layer.
    seeds
        Each starts another image of every unit.
    preset
        1 to 4, the paper's sets of regularizers; the name of another in `PRESETS`; or parameters of
        your own.
    position
        Where in a channel's map: ``"center"``, (y, x), or ``"all"`` for the whole channel, whose
        sum is raised. A layer without maps takes "center" and "all" alike.
    iterations
        Number of steps; by default 300 where `rate` is "auto", and else the preset's.
    rate
        ``"auto"``, `GrayLevels`, steps as far in every net and layer; ``"paper"`` is the
        preset's own rate; a number is a constant rate; or any `Rate`. With parameters of your own
        both words mean the rate that they hold.
    batch_size
        The most images at a time. Results do not depend on it: a net that does not keep the images
        of a batch apart runs them one by one.
    progress
        Called after every step with the image steps that are done and that there are in all.
    cancel
        Asked after every step; where it says True the images at work end as they are, and those
        not begun are left out.
    **changes
        Fields of `AscentParams` to set in place of the preset's, for example ``blur_width=0.5``,
        ``start="mean"`` or ``push=-1``.

    Returns
    -------
    list of AscentResult
        For each unit in turn, one a seed.

    Raises
    ------
    UnknownNameError
        Unknown layer, start or parameter.
    SettingsError
        A unit or position that the layer does not have, or a parameter out of its range.
    """
    params = ascent_params(preset, rate, iterations, **changes)
    shape = unit_shape(net, layer)
    position = plain_position(position)
    where = resolve_position(position, shape, layer)
    chosen = check_units(_listed("units", units), shape, layer)
    pairs = list(product(chosen, _checked_seeds(seeds)))
    batch_size = resolve_batch_size(net, layer, batch_size)
    meter = _Meter(params.iterations * len(pairs), progress, cancel)
    results: list[AscentResult] = []
    for batch in split(pairs, batch_size):
        end = meter.done + params.iterations * len(batch)
        objective = Objective(net.ops, [unit for unit, _ in batch], shape, where, params.push)
        start = first_images(params.start, [seed for _, seed in batch], net.preprocessor)
        tracks = ascend(net, layer, objective, start, params, partial(meter.step, len(batch)))
        results += [
            _result(net, layer, unit, seed, position, params, track)
            for (unit, seed), track in zip(batch, tracks, strict=True)
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
    return params.but(**changes)


def unit_shape(net: Net, layer: str) -> tuple[int, ...]:
    """The shape of what `layer` gives for one image, channels first.

    Raises
    ------
    EngineError
        The layer's first axis does not count images, or the net cannot run a single image.
    """
    try:
        shape = _shape_of(net, layer, 1)
    except ModelError as error:
        raise EngineError(f"the net cannot run one image by itself: {error}") from error
    if shape is None:  # a layer of a type whose shape only the engine knows
        x = first_images("mean", [0], net.preprocessor)
        shape = tuple(net.evaluate(net.ops.asarray(x), layer).shape)
    if shape[:1] != (1,):
        raise EngineError(
            f"layer {layer!r} has shape {shape} for one image: its first axis does not count "
            "images, so it has no units to optimize"
        )
    return shape[1:]


def resolve_batch_size(net: Net, layer: str, wanted: int | None = None) -> int:
    """How many images to optimize at a time; 1 where the net does not keep them apart."""
    size = wanted or (BATCH_ON_HOST if net.device == "cpu" else BATCH_ON_DEVICE)
    mixed = _what_mixes(net, layer) if size > 1 else None
    if mixed is None:
        return size if wanted is None else wanted
    log.warning("images run one at a time, since the net mixes those of a batch: %s", mixed)
    return 1


def _what_mixes(net: Net, layer: str) -> str | None:
    """How an image's values at a layer come to depend on the other images of its batch."""
    for below in _below(net, layer):
        norm = below.param.batch_norm_param
        # Unset it means the stored statistics: deploy nets run in Caffe's TEST phase.
        if norm.HasField("use_global_stats") and not norm.use_global_stats:
            return f"{below.type} {below.name!r} says use_global_stats: false"
    try:
        one, two = _shape_of(net, layer, 1), _shape_of(net, layer, 2)
    except ModelError as error:
        return str(error)
    if one is None or two is None or two == (2, *one[1:]):
        return None
    return f"{layer!r} has shape {one} for one image and {two} for two"


def _below(net: Net, layer: str) -> Graph:
    """What has to run to get a layer's values."""
    graph = net.model.graph
    return Graph(graph.name, graph.ancestors([graph.seed(layer)]))


def _shape_of(net: Net, layer: str, images: int) -> tuple[int, ...] | None:
    below = _below(net, layer)
    inputs = {name: (images, *net.inputs[name][1:]) for name in below.inputs}
    return infer(below, inputs).values.get(net.model.graph.seed(layer))


def split(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """Batches of nearly equal size, each at most `most`: 9 of at most 8 are 4 and 5."""
    if most < 1:
        raise SettingsError(f"batch_size must be at least 1; got {most}")
    count = math.ceil(len(items) / most)
    edges = [len(items) * i // count for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in pairwise(edges)]


@dataclass
class _Meter:
    """Counts image steps, reports them, and asks whether to go on."""

    total: int
    progress: Callable[[int, int], None] | None
    cancel: Callable[[], bool] | None
    done: int = 0
    cancelled: bool = False

    def step(self, images: int, t: int) -> bool:
        self.skip_to(self.done + images)
        self.cancelled = bool(self.cancel and self.cancel())
        return not self.cancelled

    def skip_to(self, done: int) -> None:
        """Where every image of a batch has ended early, its other steps count as done."""
        if done > self.done:
            self.done = done
            if self.progress:
                self.progress(done, self.total)


def _listed(name: str, items: int | Iterable[int]) -> list[int]:
    if isinstance(items, str):  # it would go by its digits
        raise SettingsError(f"{name} must be a number or a list of numbers; got {items!r}")
    return [int(items)] if isinstance(items, int | np.integer) else list(items)


def _checked_seeds(seeds: int | Iterable[int]) -> list[int]:
    listed = _listed("seeds", seeds)
    for seed in listed:
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
            raise SettingsError(
                f"a seed must be a whole number from 0 to {2**32 - 1}; got {seed!r}"
            )
    return [int(seed) for seed in listed]


def _result(
    net: Net,
    layer: str,
    unit: int,
    seed: int,
    position: Position,
    params: AscentParams,
    track: Track,
) -> AscentResult:
    best = track.best_iteration
    return AscentResult(
        layer=layer,
        unit=unit,
        seed=seed,
        position=position,
        image=track.image,
        objective=track.objective,
        best_iteration=best,
        best_value=float("nan") if best is None else float(track.objective[best]),
        met_top=track.met_top,
        stop=track.stop,
        params=params,
        engine=net.engine,
        version=deepvis_caffe.__version__,
        preprocessor=net.preprocessor,
    )

"""`optimize`, the entry point: ``(net, layer, units, seeds) -> results``.

It checks the arguments and splits the work into batches. `run_batch` restricts a batch to the part
of the input that its units see, runs the loop (`deepvis_caffe.optimizer.ascent`), and returns the
results.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np

import deepvis_caffe
from deepvis_caffe.engines.computed import computed_by, one_thread
from deepvis_caffe.engines.out_of_memory import in_batches
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.input_window import InputWindow
from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.batching import cut, most_in_memory
from deepvis_caffe.optimizer.channel_moments import moment_layers
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.objectives import objective_in
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import DEFAULT, GRAY_LEVEL_STEPS, GRAY_LEVELS
from deepvis_caffe.optimizer.presets import preset as preset_params
from deepvis_caffe.optimizer.rates import Constant, Rate
from deepvis_caffe.optimizer.readers import (
    ObjectiveReader,
    Reader,
    TargetBatch,
    TargetReader,
    natural_objective,
    natural_targets,
)
from deepvis_caffe.optimizer.relu_inputs import layers_below_relus
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, Snapshot
from deepvis_caffe.optimizer.start import OtherStart, first_images
from deepvis_caffe.optimizer.target_layer import Crop, TargetLayer
from deepvis_caffe.optimizer.targets import (
    LAYER,
    Direction,
    Position,
    Target,
    UnitName,
    listed_targets,
    name_of,
    plain_position,
)
from deepvis_caffe.optimizer.tiles import tiled_where_needed
from deepvis_caffe.progress import ProgressCallback, ProgressMeter

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

log = logging.getLogger(__name__)

REDIRECTS = 64  # maximum number of redirected steps for an image without a gradient behind a ReLU


@dataclass(frozen=True)
class AscentBatch:
    """Ascents that run in one batch.

    Attributes
    ----------
    runs
        The target and the seed of each.
    layer, params, position, crop
        As for `optimize`.
    objective
        The objective to maximize instead of a layer's units; the target of each run is then its
        name.
    reproducible
        Whether to run on one thread; see `optimize`.
    starts
        The first image of every run, if they are not those of `params`.
    """

    layer: str
    runs: tuple[tuple[Target, int], ...]
    params: AscentParams
    position: Position = "center"
    crop: Crop = "auto"
    objective: Objective | None = None
    reproducible: bool = False
    starts: Mapping[tuple[Target, int], OtherStart] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Total number of image steps."""
        return len(self.runs) * self.params.iterations

    @property
    def compares_images(self) -> bool:
        """Whether an image depends on its unit's others, which must then share a batch."""
        of_objective = bool(self.objective and self.objective.compares_images)
        return self.params.compares_images or of_objective

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
    layer: str | Objective | Iterable[Objective],
    units: int | str | Direction | Iterable[Any] | None = None,
    seeds: int | Iterable[int] = 1,
    preset: int | str | AscentParams = DEFAULT,
    position: Position = "center",
    iterations: int | None = None,
    rate: Rate | float | str = "auto",
    batch_size: int | None = None,
    crop: Crop = "auto",
    progress: ProgressCallback | None = None,
    cancel: Callable[[], bool] | None = None,
    watch: Callable[[Snapshot], None] | None = None,
    reproducible: bool = False,
    **changes: Any,
) -> AscentResults:
    """Find images that maximize units or objectives, by regularized ascent from random starts.

    If a unit behind a ReLU is inactive, and so has no gradient, the image first follows a
    redirected gradient that activates it; the result's `redirected_steps` tells for how many steps.

    Parameters
    ----------
    net
        From `load_net`.
    layer
        A layer's or blob's name, which means its activation. If it ends in in-place ReLUs, the
        values below these are maximized: they are the same for an active unit, and have a gradient
        for an inactive one. ``conv1:raw`` is the layer's own output, before any in-place layer; see
        `deepvis_caffe.model.graph`. Or an objective, which may read several layers, as a value or
        as text, or several objectives, each maximized separately; see
        `deepvis_caffe.optimizer.objectives`.
    units
        Channels of that layer, or their labels; or sums of channels, directions or the whole layer,
        see `deepvis_caffe.optimizer.targets`. None for objectives.
    seeds
        Number of images for every unit: 9 means seeds 0 to 8, as with ``--seeds 9``; or the seeds
        themselves, such as ``[4]``.
    preset
        ``"best"``, ours; 1 to 4, the paper's sets of regularizers; or `AscentParams`. See
        `deepvis_caffe.optimizer.presets`.
    position
        Position in a channel's map: ``"center"``, (y, x), or ``"all"`` for the sum over the whole
        channel. For a layer without maps "center" and "all" mean the same.
    iterations
        Number of steps; by default 300 for presets 1 to 4 with the "auto" rate, otherwise the
        preset's.
    rate
        ``"auto"``: `GrayLevels`, which takes steps of the same size in every net and layer;
        ``"paper"``: the preset's own rate; a number: a constant rate; or any `Rate`. With
        `AscentParams` both words mean their own rate.
    batch_size
        The maximum batch size; by default measured. Results do not depend on it, except for
        rounding: if the output for one image depends on the rest of its batch, images run one by
        one. With `diversity` a unit's seeds stay in one batch.
    crop
        ``"auto"`` runs a unit of a convolution on the part of the input that it sees. The first
        image is cropped from the full one; value and gradient are the same. ``"off"`` runs, and
        returns, full images.
    progress
        Called after every step with the number of image steps done and their total.
    cancel
        Called after every step. Once it returns True, running images stop as they are, and images
        not started are left out.
    watch
        Called after every step, between `progress` and `cancel`, with a `Snapshot`. It may use the
        net for anything: ``forward`` and ``backward`` with other images, of any size, do not change
        the result.
    reproducible
        Compute each image by itself and on one thread. The result is then the same to the last bit
        for any `batch_size`, number of threads and other images, on machines with the same kind of
        processor and the same versions of the engine's libraries. Images that are compared with
        each other, as by `diversity`, run in one batch of all seeds of a unit. Meanwhile other
        threads of this process also compute on one thread.
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
        A unit or position that the layer does not have, a parameter out of range, diversity on a
        net whose output for one image depends on the rest of its batch, or reproducible on a GPU.
    EngineError
        The layer cannot run, or has no gradient.
    """
    params = ascent_params(preset, rate, iterations, **changes)
    checked = check_seeds(seeds)
    if reproducible:
        check_reproducible(net)
    batches = [
        batch
        for own, targets in resolve_targets(net, layer, units, position)
        for batch in make_batches(
            net, own, list(product(targets, checked)), params, crop, batch_size, reproducible
        )
    ]
    results = AscentResults()
    for _, found in ascend_batches(net, batches, progress, watch, cancel):
        results += found
    return results


def ascend_batches(
    net: Net,
    batches: Sequence[AscentBatch],
    progress: ProgressCallback | None = None,
    watch: Callable[[Snapshot], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[tuple[AscentBatch, list[AscentResult]]]:
    """Run batches in this process, one after another, until cancelled.

    Parameters
    ----------
    progress, watch, cancel
        As for `optimize`.

    Yields
    ------
    tuple of AscentBatch and list of AscentResult
        The last one is the batch that was running when cancelled.
    """
    meter = ProgressMeter(progress, [batch.steps for batch in batches])
    cancelled = False

    def stops() -> bool:
        nonlocal cancelled
        cancelled = bool(cancel and cancel())
        return cancelled

    for number, batch in enumerate(batches):
        results = run_batch(net, batch, partial(meter.update, number), watch, stops)
        if not cancelled:
            meter.finish(number)
        yield batch, results
        if cancelled:
            return


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
        As for `optimize`. `OutOfMemoryError` only if a single image, or images that are compared
        with each other, do not fit: otherwise the batch is halved.
    """
    done = 0

    def run(runs: Sequence[tuple[Target, int]], most: int) -> list[AscentResult]:
        nonlocal done
        part = replace(batch, runs=tuple(runs))
        found = _run(net, part, lambda steps: progress(done + steps), watch, cancel)
        done += part.steps
        return found

    with one_thread(net) if batch.reproducible else nullcontext():
        found = in_batches(
            net,
            f"layer {batch.layer!r}",
            batch.runs,
            run,
            size=_most(net, batch),
            splits=not batch.compares_images,
        )
        return list(chain.from_iterable(found))


def _most(net: Net, batch: AscentBatch) -> int:
    """The largest batch that fits: if the system overcommits memory, it kills us instead."""
    layer, images = batch.layer, len(batch.runs)
    if images == 1 or batch.compares_images:
        return images
    if batch.objective:
        own = TargetLayer.of_objective(net, batch.objective)[0]
    else:
        own = TargetLayer.of(net, layer, batch.position)
    windows = list(own.windows(net, batch.crop).values())
    most = most_in_memory(net, layer, windows[0].size if windows else None)
    if most < images:
        log.warning(
            "layer %r: a batch of %d images does not fit in memory; continuing with %d",
            layer,
            images,
            most,
        )
    return min(images, most)


def _run(
    net: Net,
    batch: AscentBatch,
    progress: Callable[[int], None],
    watch: Callable[[Snapshot], None] | None,
    cancel: Callable[[], bool],
) -> list[AscentResult]:
    if batch.objective:
        layer, targets = TargetLayer.of_objective(net, batch.objective)
    else:
        layer = TargetLayer.of(net, batch.layer, batch.position)
        targets = layer.check(target for target, _ in batch.runs)
    units = [name_of(target) for target in targets] * (len(batch.runs) // len(targets))
    seeds = [seed for _, seed in batch.runs]
    windows = layer.windows(net, batch.crop)
    params = batch.params.for_hidden_units() if windows else batch.params
    if params.compares_images and layer.batch_size(net, batch.crop, 2, 2) == 1:
        raise SettingsError(
            "diversity needs all images of a unit in one batch, but this net's outputs depend on "
            "the rest of the batch: set diversity to 0, or leave it out"
        )
    others = [batch.starts.get(run) for run in batch.runs]
    if batch.starts:
        start = np.stack([other.x for other in others if other is not None])
    else:
        start = first_images(params.start, seeds, net.preprocessor)
    preprocessor = net.preprocessor
    box = None
    for window in windows.values():  # all are the same part of the input
        box = window.box
    if box:
        rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
        preprocessor = preprocessor.cut(rows, columns)
        start = start[:, :, rows, columns]
    snapshot = partial(
        Snapshot,
        steps=params.iterations,
        runs=list(zip(units, seeds, strict=True)),
        window=box,
        net=net,
        preprocessor=preprocessor,
    )
    tracks = ascend(
        BatchInfo(
            net.ops,
            preprocessor,
            params.iterations,
            seeds,
            list(map(units.index, units)),
            takes_size=(lambda size: False) if windows else partial(layer.takes_size, net),
        ),
        _reader(net, layer, targets, windows, params, len(start)),
        start,
        params,
        _AfterStep(progress, snapshot, watch, cancel),
        REDIRECTS if any(layers_below_relus(net, name) for name in layer.reads) else 0,
    )
    by = computed_by(net)
    return [
        AscentResult(
            layer=layer.name,
            unit=unit,
            seed=seed,
            position=plain_position(layer.position),
            image=track.image,
            window=box,
            activations=track.activations,
            best_iteration=track.best_iteration,
            first_top=track.first_top,
            stop=track.stop,
            params=batch.params,
            engine=net.engine,
            version=deepvis_caffe.__version__,
            computed={**by, "batch": len(seeds), "reproducible": batch.reproducible},
            preprocessor=preprocessor,
            objective_text=str(layer.objective or ""),
            label=None if layer.objective else net.label(layer.name, unit),
            redirected_steps=track.redirected_steps,
            started_from=other.record if other else None,
        )
        for unit, seed, track, other in zip(units, seeds, tracks, others, strict=True)
    ]


def ascent_params(
    preset: int | str | AscentParams = DEFAULT,
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


def make_batches(
    net: Net,
    layer: TargetLayer,
    runs: Sequence[tuple[Target, int]],
    params: AscentParams,
    crop: Crop = "auto",
    batch_size: int | None = None,
    reproducible: bool = False,
    starts: Mapping[tuple[Target, int], OtherStart] | None = None,
) -> list[AscentBatch]:
    """Split runs into batches of the most efficient size; reproducible ones into the smallest.

    Parameters
    ----------
    runs
        The (target, seed) of each, grouped by unit.
    params, crop, batch_size, reproducible
        As for `optimize`.
    starts
        The first image of each run, if they are not those of `params`.
    """
    if not runs:
        return []
    most = 1 if reproducible else layer.batch_size(net, crop, len(runs), batch_size)
    whole = params.compares_images or bool(layer.objective and layer.objective.compares_images)
    return [
        AscentBatch(
            layer.name,
            tuple(some),
            params,
            layer.position,
            crop,
            layer.objective,
            reproducible,
            {run: starts[run] for run in some} if starts else {},
        )
        for some in cut(runs, most, whole)
    ]


def check_reproducible(net: Net) -> None:
    """Raise `SettingsError` if the engine's device does not guarantee the last bits."""
    if net.device != "cpu":
        raise SettingsError(
            f"reproducible results are guaranteed only on the CPU, but the net runs on "
            f"{net.device}, where kernels may sum in a different order each time: use device='cpu' "
            "(--device cpu), or leave reproducible out"
        )


def resolve_targets(
    net: Net, layer: str | Objective | Iterable[Objective], units: Any, position: Position
) -> list[tuple[TargetLayer, list[Target]]]:
    """What `optimize` should maximize, in order."""
    if isinstance(layer, str) and units is None:
        layer = objective_in(net, layer) or layer
    if isinstance(layer, str):
        if units is None:
            raise SettingsError(
                f"choose the units of layer {layer!r} to maximize, for example units=0 "
                "or units=[0, 1]"
            )
        own = TargetLayer.of(net, layer, position)
        listed = [units] if isinstance(units, str) else _listed("units", units)
        return [
            (own, own.check(some for one in listed for some in listed_targets(net, layer, one)))
        ]
    if callable(layer):
        raise SettingsError(
            "a plain function does not say which layers it reads: pass "
            "objectives.function(f, 'conv5') with their names"
        )
    objectives = [layer] if isinstance(layer, Objective) else list(layer)
    for objective in objectives:
        if not isinstance(objective, Objective):
            raise SettingsError(
                "layer must be a layer's name, an objective or several objectives; got "
                f"{objective!r}"
            )
    if units is not None or position != "center":
        raise SettingsError(
            "an objective already names its units and position: leave units and position out"
        )
    return [TargetLayer.of_objective(net, objective) for objective in objectives]


def _reader(
    net: Net,
    layer: TargetLayer,
    targets: Sequence[Target],
    windows: dict[str, InputWindow],
    params: AscentParams,
    images: int,
) -> Reader:
    """The reader for a batch, on the whole input or in windows."""
    sign, strength = params.sign, params.naturalness
    if layer.windows(net, "auto"):  # the target sees only a part of the image
        strength = 0
    if layer.objective:
        origins = {}
        for name, window in windows.items():
            block = layer.objective.block(net, name)
            assert block is not None  # otherwise there would be no window
            origins[name] = tuple(at - i for at, i in zip(block[:2], window.index, strict=True))
        evaluate = layer.objective.bind(net, origins)
        names = layer.objective.layers
        if strength and moment_layers(net, names):
            return natural_objective(net, names, evaluate, sign, strength)
        return ObjectiveReader(net, layer.objective.layers, evaluate, sign)
    shape, index = layer.shape, layer.index
    if window_ := windows.get(layer.name):
        shape, index = (shape[0], *window_.extent), window_.index
    batch = TargetBatch(net.ops, targets, shape, index, sign)
    whole = tiled_where_needed(net, layer.name, shape, images) if not window_ else net
    if strength and whole is net and moment_layers(net, [layer.name]):
        return natural_targets(net, layer.name, batch, strength)
    return TargetReader(whole, layer.name, batch)


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
    if isinstance(items, str) and items != LAYER:  # its characters would become items
        raise SettingsError(f"{name} must be a number or a list of numbers; got {items!r}")
    single = isinstance(items, int | np.integer | str | Direction)
    return [items] if single else list(items)


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """The `seeds` of `optimize` as a list; raises `SettingsError` if one is not a seed."""
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if seeds < 1:
            raise SettingsError(
                f"seeds must be the number of images per unit, at least 1, or a list of seeds such "
                f"as [0]; got {seeds}"
            )
        return list(range(int(seeds)))
    listed = _listed("seeds", seeds)
    for seed in listed:
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
            raise SettingsError(
                f"a seed must be a whole number from 0 to {2**32 - 1}; got {seed!r}"
            )
    return [int(seed) for seed in listed]

"""A pass over images: ``(net, source, params, indices) -> Scan``. Scans merge.

On a GPU, or in Caffe, one batch runs at a time, while processes (or for few images, threads) decode
the next ones. The torch engine on a CPU runs several batches in parallel, one thread per core, each
of which decodes, runs and reduces its own batch: cores that share a batch would wait for each other
at every layer.

Merging the scans of parts gives the scan of the whole: the top images exactly, in any order of the
parts; sums up to float64 rounding, and exactly if the parts are merged in the same order.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.compiled_sweep import Sweep, compiled_sweep
from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.layer_scan import NONE, LayerScan
from deepvis_caffe.dataset.loader import (
    Batch,
    check_prepared,
    chunks,
    load_batch,
    load_batches,
    ordered_map,
)
from deepvis_caffe.dataset.reduction import (
    DeviceReduction,
    Reduction,
    check_readable,
    on_host,
    reduce_value,
)
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.out_of_memory import in_batches
from deepvis_caffe.errors import EngineError, ModelError, SettingsError
from deepvis_caffe.image import Floats, opencv_threads
from deepvis_caffe.model.batch import shape_for
from deepvis_caffe.model.graph import RAW
from deepvis_caffe.model.rows import check_has_units

Read = Callable[[NDArray[np.float32], Executor | None, int], dict[str, Reduction]]
# The approximate working set of a batch, in multiples of the net's largest value: a layer's bottom
# and top, the reduction's temporaries, and memory not yet returned to the system.
LIVE_VALUES = 6
# Number of images from which loading the compiled sweep, which takes 0.3 s, pays off. It is that of
# the source, not of `indices`: all parts of a scan round alike.
COMPILED_FROM = 1000
# Minimum number of images added to a scan at a time: adding one takes as long as adding many.
ADDED_TOGETHER = 32


@dataclass(frozen=True)
class ReducedBatch:
    """A batch after its pass.

    Attributes
    ----------
    indices, labels
        The index in the source and the class of each image that was processed.
    parts
        The reduction of each layer, by name.
    skipped
        (index, reason) of the other images.
    """

    indices: tuple[int, ...]
    labels: tuple[int | None, ...]
    parts: Mapping[str, Reduction]
    skipped: tuple[tuple[int, str], ...]


def read_batches(
    net: Net,
    source: Source,
    indices: Iterable[int],
    batch_size: int,
    threads: int,
    read: Read,
    decoders: Decoders | None = None,
) -> Iterator[ReducedBatch]:
    """Run images of a source through a net, in order.

    Parameters
    ----------
    indices
        The images.
    batch_size
        Maximum batch size.
    threads
        Number of threads that decode, or run batches in parallel; results do not depend on it.
    read
        ``read(x, helpers, most)`` runs images through the net, and returns the reduction of each
        layer. `helpers` is a thread pool that it may use, and `most` is the batch size:
        `batch_size`, or less once memory ran out. Several threads may call it.
    decoders
        Processes that decode instead of threads, for this source and batch size.
    """
    preprocessor = net.preprocessor
    parallel = parallel_batches(net, batch_size, threads)

    def run(some: list[int]) -> list[ReducedBatch]:
        return _passes(net, load_batch(source, preprocessor, some), read, batch_size)

    if parallel > 1:
        with net.ops.helpers(parallel) as pool, opencv_threads(1):
            every = chunks(indices, batch_size)
            for _, passed in ordered_map(run, every, pool, ahead=2 * parallel):
                yield from passed
        return
    if net.reentrant and threads == 1:  # one core, so nothing is gained by decoding beside the net
        with opencv_threads(1):
            for some in chunks(indices, batch_size):
                yield from run(some)
        return
    shared = net.ops.helpers(threads) if net.ops.on_host and threads > 1 else nullcontext()
    if decoders:
        batches = decoders.batches(indices)
    else:
        batches = load_batches(source, preprocessor, indices, batch_size, threads)
    with shared as helpers, closing(batches):
        for loaded in batches:
            yield from _passes(net, loaded, read, batch_size, helpers)


def parallel_batches(net: Net, batch_size: int, threads: int) -> int:
    """The number of batches that run in parallel: one per thread, if memory allows."""
    free = net.ops.free_memory()
    if not net.reentrant or free is None:
        return threads if net.reentrant else 1
    return max(1, min(threads, free // batch_bytes(net, batch_size)))


def batch_bytes(net: Net, batch_size: int) -> int:
    """The approximate working set of a batch."""
    largest = max((prod(shape[1:]) for shape in net.shapes.values()), default=1)
    return LIVE_VALUES * 4 * batch_size * largest


def _passes(
    net: Net, batch: Batch, read: Read, size: int, helpers: Executor | None = None
) -> list[ReducedBatch]:
    """Run a batch, in parts once memory runs out."""

    def run(places: Sequence[int], most: int) -> ReducedBatch:
        return _pass(batch, places, lambda x: read(x, helpers, most))

    places = range(len(batch.indices))
    passed = list(in_batches(net, "a pass over images", places, run, size))
    passed[0] = replace(passed[0], skipped=(*batch.skipped, *passed[0].skipped))
    return passed


def _pass(
    batch: Batch, places: Sequence[int], read: Callable[[Floats], dict[str, Reduction]]
) -> ReducedBatch:
    """Run some images of a batch, leaving out those whose activations are not finite."""
    keep, skipped = list(places), list[tuple[int, str]]()
    parts: dict[str, Reduction] = {}
    while keep:
        parts = read(np.stack([batch.images[place] for place in keep]))
        wrong = first_not_finite(parts)
        if not wrong:
            break
        skipped += [
            (batch.indices[keep[place]], f"{layer} is not finite") for place, layer in wrong.items()
        ]
        keep = [index for place, index in enumerate(keep) if place not in wrong]
    indices = tuple(batch.indices[place] for place in keep)
    labels = tuple(batch.labels[place] for place in keep)
    return ReducedBatch(indices, labels, parts, tuple(skipped))


def first_not_finite(parts: Mapping[str, Reduction]) -> dict[int, str]:
    """The images with non-finite activations, each with the first such layer."""
    wrong: dict[int, str] = {}
    for name, part in parts.items():
        for place in np.flatnonzero(~part.finite()):
            wrong.setdefault(int(place), name)
    return wrong


log = logging.getLogger(__name__)

NO_LABEL = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class ScanParams:
    """The parameters of a scan.

    Parameters
    ----------
    layers
        Names of layers or blobs, whose activations are read. ``name:raw`` reads the values before
        any in-place layer, see `deepvis_caffe.model.graph`. By default `learned_layers`.
    count
        Number of top images to keep for each unit.
    correlation
        Whether to keep what the correlation between a layer's units needs. Memory and time grow
        with the square of their number.

    Raises
    ------
    SettingsError
        A count under 1.
    """

    layers: tuple[str, ...] = ()
    count: int = 9
    correlation: bool = False

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SettingsError(f"the number of top images must be at least 1; got {self.count}")

    def for_net(self, net: Net) -> ScanParams:
        """These parameters with the layers filled in and checked against a net.

        Raises
        ------
        UnknownNameError, ModelError
            The net has no such layer, or the layer has no units.
        """
        layers = self.layers or learned_layers(net)
        for name in layers:
            value = net.model.graph.activation(name)
            net.check_runs([value])
            check_has_units(net.model.graph, name, value)
            check_readable(name, net.shapes.get(value))
        return replace(self, layers=tuple(dict.fromkeys(layers)))


def default_batch_size(net: Net) -> int:
    """The default batch size: the fastest for a core, or one that keeps a GPU busy."""
    return 16 if net.ops.on_host else 64


def scan_batch_size(net: Net, layers: Iterable[str], wanted: int | None = None) -> int:
    """The batch size of a pass over `layers`: `wanted`, or `default_batch_size`.

    It is 1, which is logged, if a layer's output for one image depends on the others in its batch.

    Raises
    ------
    EngineError
        A layer's rows are not images, or the net cannot run on one image.
    """
    mixed = {}
    for name in layers:
        value = net.model.graph.activation(name)
        try:
            shape = shape_for(net.model, value, 1)
        except ModelError as error:
            raise EngineError(f"the net cannot run with batch size 1: {error}") from error
        if shape is not None and shape[:1] != (1,):
            raise EngineError(
                f"layer {name!r} has shape {shape} for one image: its first axis is not the batch "
                "axis, so its rows are not images"
            )
        if why := net.why_mixed(name):
            mixed[name] = why
    if mixed and wanted != 1:
        name, why = next(iter(mixed.items()))
        log.warning(
            "images run one at a time, because the output of layer %r for one image depends on the "
            "others in its batch: %s",
            name,
            why,
        )
    return 1 if mixed else wanted or default_batch_size(net)


def learned_layers(net: Net) -> tuple[str, ...]:
    """The names of the layers with units of their own, see `LayerInfo.has_own_units`.

    Layers whose rows are not images (after a Concat along axis 0, or regions) are left out. If a
    layer that works in place on one of them cannot run, the name refers to its own output.
    """
    graph = net.model.graph
    return tuple(
        layer.name
        if net.opaque.runs(graph.producer[graph.activation(layer.name)].name)
        else f"{layer.name}{RAW}"
        for layer in net.layers
        if layer.has_own_units and _rows_are_images(net, layer.name)
    )


def _rows_are_images(net: Net, layer: str) -> bool:
    try:
        shape = shape_for(net.model, net.model.graph.own_output(layer), 1)
    except ModelError:
        return False
    return shape is None or shape[:1] == (1,)


@dataclass(frozen=True, eq=False)
class Scan:
    """The result of a pass.

    Attributes
    ----------
    layers
        By the names in `ScanParams.layers`.
    names
        The names of the images that are a top image of any unit, ascending. The layers refer to
        images by their indices here.
    labels
        int64, the class of each of these; `NO_LABEL` for none.
    images
        The number of images that were processed.
    skipped
        The name of each other image, and why it was skipped.
    """

    layers: Mapping[str, LayerScan]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    images: int
    skipped: tuple[tuple[str, str], ...]

    @classmethod
    def empty(cls, net: Net, params: ScanParams) -> Scan:
        """A scan of no images."""
        layers = {
            name: LayerScan.empty(
                check_readable(name, net.shapes.get(net.model.graph.activation(name))),
                params.count,
                params.correlation,
            )
            for name in params.layers
        }
        return cls(layers, (), np.zeros(0, np.int64), 0, ())

    def merged(self, other: Scan) -> Scan:
        """The scan of the images of both; no image may be in both."""
        names = np.array(sorted({*self.names, *other.names}), object)
        labels = np.full(len(names), NO_LABEL, np.int64)
        mine, theirs = (
            np.searchsorted(names, np.array(one.names, object)).astype(np.int64)
            if one.names
            else np.zeros(1, np.int64)
            for one in (self, other)
        )
        labels[mine[: len(self.names)]] = self.labels
        labels[theirs[: len(other.names)]] = other.labels
        layers = {
            name: layer.renumbered(mine).merged(other.layers[name].renumbered(theirs))
            for name, layer in self.layers.items()
        }
        skipped = tuple(sorted({*self.skipped, *other.skipped}))
        images = self.images + other.images
        return Scan(layers, tuple(names), labels, images, skipped).trimmed()

    def trimmed(self) -> Scan:
        """The same, without the names of images that are not a top image of any unit."""
        used = np.zeros(len(self.names), bool)
        for layer in self.layers.values():
            image = layer.top.image
            used[image[image != NONE]] = True
        numbers = np.maximum(np.cumsum(used) - 1, 0) if len(used) else np.zeros(1, np.int64)
        return replace(
            self,
            layers={name: layer.renumbered(numbers) for name, layer in self.layers.items()},
            names=tuple(name for name, kept in zip(self.names, used, strict=True) if kept),
            labels=self.labels[used],
        )

    @property
    def means(self) -> dict[str, NDArray[np.float64]]:
        """Each unit's mean activation over every position of every image, by layer, (C,)."""
        return {name: layer.moments.mean for name, layer in self.layers.items()}

    def label(self, image: int) -> int | None:
        """The class of an image, by its index in `names`."""
        label = int(self.labels[image])
        return None if label == NO_LABEL else label


def scan_images(
    net: Net,
    source: Source,
    params: ScanParams,
    indices: Iterable[int] | None = None,
    batch_size: int | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    decoders: Decoders | None = None,
) -> Scan:
    """Run images through a net, and keep each unit's top images and statistics.

    Parameters
    ----------
    indices
        Images of the source, ascending; all by default.
    batch_size
        The batch size; `default_batch_size` by default, and no more than the source has. The last
        batch is padded, so that every image is computed in a batch of this size. If memory runs
        out, batches are halved.
    threads
        See `read_batches`.
    progress
        Called with the number of images done.
    decoders
        See `read_batches`.

    Raises
    ------
    ImageError
        The source holds prepared inputs that do not fit the net.
    UnknownNameError, ModelError
        See `ScanParams.for_net`.
    """
    params = params.for_net(net)
    check_prepared(source, net.preprocessor)
    # The length of the source, not of `indices`: all its parts use the same batch size.
    batch_size = min(scan_batch_size(net, params.layers, batch_size), max(1, len(source)))
    indices = range(len(source)) if indices is None else indices
    layers, numbers, labels = dict(Scan.empty(net, params).layers), [], []  # type: ignore[var-annotated]
    skipped: list[tuple[str, str]] = []
    done = 0
    together = 1 if params.correlation else ADDED_TOGETHER

    by_pixels = net.engine == "torch" and net.ops.on_host  # Caffe's values are maps
    sweep = compiled_sweep() if by_pixels and len(source) >= COMPILED_FROM else None

    def read(x: Floats, helpers: Executor | None, most: int) -> dict[str, Reduction]:
        return read_layers(net, x, params, most, layers, helpers, sweep)

    def add(batches: list[ReducedBatch]) -> None:
        own = [NO_LABEL if one is None else one for batch in batches for one in batch.labels]
        images = np.arange(len(numbers), len(numbers) + len(own))
        classes = np.array(own, np.int64)
        for name, layer in layers.items():
            part = Reduction.joined([batch.parts[name] for batch in batches])
            layers[name] = layer.with_batch(part, images, classes, classes != NO_LABEL)
        numbers.extend(index for batch in batches for index in batch.indices)
        labels.extend(own)

    waiting: list[ReducedBatch] = []
    for batch in read_batches(net, source, indices, batch_size, threads, read, decoders):
        skipped += [(source.names[index], why) for index, why in batch.skipped]
        waiting += [batch] if batch.indices else []
        if sum(len(one.indices) for one in waiting) >= together:
            add(waiting)
            waiting = []
        done += len(batch.indices) + len(batch.skipped)
        if progress:
            progress(done)
    if waiting:
        add(waiting)
    names = tuple(source.names[index] for index in numbers)
    whole = Scan(layers, names, np.array(labels, np.int64), len(names), tuple(sorted(skipped)))
    return whole.trimmed()


def read_layers(
    net: Net,
    x: Floats,
    params: ScanParams,
    batch_size: int,
    before: Mapping[str, LayerScan],
    helpers: Executor | None = None,
    sweep: Sweep | None = None,
) -> dict[str, Reduction]:
    """Run images `x`, at most `batch_size` of them, and reduce each layer.

    Parameters
    ----------
    before
        Statistics of earlier images, though not necessarily of all of them.
    helpers
        See `ArrayOps.helpers`.
    sweep
        See `compiled_sweep`.
    """
    images = len(x)
    if images < batch_size:
        x = np.concatenate([x, np.repeat(x[-1:], batch_size - images, axis=0)])
    inputs = {net.image_input(): x, **net.other_inputs(x)}
    blobs = {name: net.model.graph.activation_name(name) for name in params.layers}
    # Images come in order, so a later one is kept only if it exceeds the lowest one kept.
    last = {blob: before[name].top.value[:, -1] for name, blob in blobs.items()}

    def reducer(blob: str, value: Any) -> Reduction | DeviceReduction:
        return reduce_value(net.ops, value, images, last[blob], params.correlation, helpers, sweep)

    found = on_host(net.ops, net.reduce(inputs, last, reducer))
    return {name: found[blob] for name, blob in blobs.items()}


def merge(scans: Sequence[Scan]) -> Scan:
    """Merge scans of parts, in the order given."""
    return functools.reduce(Scan.merged, scans)

"""One pass of some images through a net: ``(net, source, params, indices) -> Scan``. Scans merge.

On a GPU, or in Caffe, one batch runs at a time, and processes decode the next ones beside it, or
threads where there are few. The embedded engine on a CPU has a lane for each core: a thread that
decodes a batch, runs it and reads it alone. Cores that share one batch wait for each other at each
of a net's layers.

A scan of parts, merged, is the scan of the whole: the strongest images exactly, in whatever order
the parts come; sums to the rounding of float64, and exactly so where parts come in one order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.layer_scan import NONE, LayerScan
from deepvis_caffe.dataset.loader import (
    Batch,
    Floats,
    check_prepared,
    in_order,
    load_batch,
    load_batches,
    pieces,
)
from deepvis_caffe.dataset.reduction import Reduction, check_readable, reduce_value
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import opencv_threads
from deepvis_caffe.model.graph import Value

Read = Callable[[NDArray[np.float32], Executor | None], dict[str, Reduction]]
# Values of the size of a net's largest that a lane holds at a time, roughly: a layer's two ends,
# what is worked out of one, and what the system keeps of those before.
HELD = 6


@dataclass(frozen=True)
class Passed:
    """A batch that has been read.

    Attributes
    ----------
    indices, labels
        Of each image that went through: its place in the source, and its class.
    parts
        What was read of each layer.
    skipped
        (index, why) of the others.
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
) -> Iterator[Passed]:
    """Images of a source in order.

    Parameters
    ----------
    indices
        Which.
    batch_size
        The most that run side by side.
    threads
        How many decode, or how many lanes there are; the results do not depend on it.
    read
        ``read(x, helpers)`` runs images through the net, and returns what is kept of each layer;
        `helpers` are threads that it may share its work with. Lanes call it side by side.
    decoders
        Processes that decode, of this source and size of batches, in place of threads.
    """
    preprocessor = net.preprocessor
    lanes = lanes_for(net, batch_size, threads)
    if lanes > 1:

        def run(some: list[int]) -> Passed:
            return _pass(load_batch(source, preprocessor, some), read)

        with net.ops.helpers(lanes) as pool, opencv_threads(1):
            for _, passed in in_order(run, pieces(indices, batch_size), pool, ahead=2 * lanes):
                yield passed
        return
    shared = net.ops.helpers(threads) if net.ops.on_host and threads > 1 else nullcontext()
    if decoders:
        batches = decoders.batches(indices)
    else:
        batches = load_batches(source, preprocessor, indices, batch_size, threads)
    with shared as helpers, closing(batches):
        for batch in batches:
            yield _pass(batch, read, helpers)


def lanes_for(net: Net, batch_size: int, threads: int) -> int:
    """How many batches run side by side: as many as threads, where the memory is there for them."""
    free = net.ops.free_memory()
    if not net.reentrant or free is None:
        return threads if net.reentrant else 1
    largest = max((prod(shape[1:]) for shape in net.shapes.values()), default=1)
    return max(1, min(threads, free // (HELD * 4 * batch_size * largest)))


def _pass(batch: Batch, read: Read, helpers: Executor | None = None) -> Passed:
    """Read a batch without those of its images whose activations are no numbers."""
    keep, skipped = list(range(len(batch.indices))), list(batch.skipped)
    parts: dict[str, Reduction] = {}
    while keep:
        parts = read(np.stack([batch.images[place] for place in keep]), helpers)
        wrong = first_not_finite(parts)
        if not wrong:
            break
        skipped += [
            (batch.indices[keep[place]], f"{layer} is not finite") for place, layer in wrong.items()
        ]
        keep = [index for place, index in enumerate(keep) if place not in wrong]
    indices = tuple(batch.indices[place] for place in keep)
    labels = tuple(batch.labels[place] for place in keep)
    return Passed(indices, labels, parts, tuple(skipped))


def first_not_finite(parts: Mapping[str, Reduction]) -> dict[int, str]:
    """Images whose activations are no numbers, each with the first layer where that is so."""
    wrong: dict[int, str] = {}
    for name, part in parts.items():
        for place in np.flatnonzero(~part.finite()):
            wrong.setdefault(int(place), name)
    return wrong


NO_LABEL = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class ScanParams:
    """What a pass keeps.

    Parameters
    ----------
    layers
        Names of layers, or blobs; of each the values that the next layer sees, after any layer that
        works in place. By default `learned_layers`.
    count
        Strongest images of each unit.
    correlation
        Whether to keep what the correlation between a layer's units takes: memory and time of the
        square of their number.

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
        """The same, with its layers named and known to be readable.

        Raises
        ------
        UnknownNameError, ModelError
            The net has no such layer, or it has no units.
        """
        layers = self.layers or learned_layers(net)
        for name in layers:
            check_readable(name, net.shapes.get(value_of(net, name)))
        return replace(self, layers=tuple(dict.fromkeys(layers)))


def usual_batch(net: Net) -> int:
    """Images that run side by side: what a core's caches hold best, or what keeps a GPU busy."""
    return 8 if net.ops.on_host else 64


def learned_layers(net: Net) -> tuple[str, ...]:
    """Layers whose units nobody else has: others hand the same ones on."""
    learned = ("Convolution", "Deconvolution", "InnerProduct")
    return tuple(one.name for one in net.layers if one.weights and one.type in learned)


def value_of(net: Net, name: str) -> Value:
    """The value that is read for a layer's name: its blob's final one."""
    graph = net.model.graph
    return graph.final(graph.seed(name).blob)


@dataclass(frozen=True, eq=False)
class Scan:
    """What a pass found.

    Attributes
    ----------
    layers
        By name, as asked for.
    names
        Of the images that are among any unit's strongest, ascending; the layers number images by
        their place in it.
    labels
        int64, the class of each of them; `NO_LABEL` where it has none.
    images
        How many images went through the net.
    skipped
        The others: name, and why.
    """

    layers: Mapping[str, LayerScan]
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    images: int
    skipped: tuple[tuple[str, str], ...]

    @classmethod
    def empty(cls, net: Net, params: ScanParams) -> Scan:
        """Over no images."""
        layers = {
            name: LayerScan.empty(
                check_readable(name, net.shapes.get(value_of(net, name))),
                params.count,
                params.correlation,
            )
            for name in params.layers
        }
        return cls(layers, (), np.zeros(0, np.int64), 0, ())

    def merged(self, other: Scan) -> Scan:
        """Over the images of both, none of which may be in both."""
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
        """The same without the names of images that are nobody's strongest any more."""
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

    def label(self, image: int) -> int | None:
        """The class of the image of that number."""
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
    """Send images through a net and keep what excites each unit most, with statistics.

    Parameters
    ----------
    indices
        Which images of the source, ascending; all by default.
    batch_size
        Images that run side by side; by default `usual_batch`. The last batch is filled up, so
        that every image is computed in a batch of that size.
    threads
        How many work on images; see `read_batches`.
    progress
        Called with the images that are done.
    decoders
        Processes that decode; see `read_batches`.

    Raises
    ------
    ImageError
        The source holds inputs of another net.
    UnknownNameError, ModelError
        See `ScanParams.for_net`.
    """
    params = params.for_net(net)
    check_prepared(source, net.preprocessor)
    batch_size = batch_size or usual_batch(net)
    indices = range(len(source)) if indices is None else indices
    layers, numbers, labels = dict(Scan.empty(net, params).layers), [], []  # type: ignore[var-annotated]
    skipped: list[tuple[str, str]] = []
    done = 0

    def read(x: Floats, helpers: Executor | None) -> dict[str, Reduction]:
        return read_layers(net, x, params, batch_size, layers, helpers)

    for passed in read_batches(net, source, indices, batch_size, threads, read, decoders):
        skipped += [(source.names[index], why) for index, why in passed.skipped]
        if passed.indices:
            images = np.arange(len(numbers), len(numbers) + len(passed.indices))
            own = np.array([NO_LABEL if one is None else one for one in passed.labels], np.int64)
            for name, part in passed.parts.items():
                layers[name] = layers[name].with_batch(part, images, own, own != NO_LABEL)
            numbers += passed.indices
            labels += own.tolist()
        done += len(passed.indices) + len(passed.skipped)
        if progress:
            progress(done)
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
) -> dict[str, Reduction]:
    """What is kept of each layer for images `x`, at most `batch_size` of them.

    Parameters
    ----------
    before
        What was found in images before these, not necessarily all of them.
    helpers
        See `ArrayOps.helpers`.
    """
    images = len(x)
    if images < batch_size:
        x = np.concatenate([x, np.repeat(x[-1:], batch_size - images, axis=0)])
    inputs = {net.image_input(): x}
    for name, shape in net.inputs.items():
        inputs.setdefault(name, np.zeros((batch_size, *shape[1:]), np.float32))
    blobs = {name: value_of(net, name).blob for name in params.layers}
    # The images come in order, so a later one is kept only if it is higher than the last kept.
    last = {blob: before[name].top.value[:, -1] for name, blob in blobs.items()}

    def reducer(blob: str, value: Any) -> Reduction:
        return reduce_value(net.ops, value, images, last[blob], params.correlation, helpers)

    found = net.reduce(inputs, last, reducer)
    return {name: found[blob] for name, blob in blobs.items()}


def merge(scans: Sequence[Scan]) -> Scan:
    """Scans of parts as one, in the order given."""
    return functools.reduce(Scan.merged, scans)

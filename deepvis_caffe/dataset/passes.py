"""Images through a net, batch by batch, each layer read: ``(net, source, params) -> Passed...``.

On a GPU, or in Caffe, one batch runs at a time, and processes decode the next ones beside it, or
threads where there are few. The embedded engine on a CPU has a lane for each core: a thread that
decodes a batch, runs it and reads it alone. Cores that share one batch wait for each other at each
of a net's layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.loader import Batch, in_order, load_batch, load_batches, pieces
from deepvis_caffe.dataset.reduction import Reduction
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import opencv_threads

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

"""Batches: the images that run together, ``(runs, most) -> batches of runs``.

The batch size grows as long as it fits into free memory and the measured time per image falls.
Results do not depend on it. If a net's output for one image depends on the rest of its batch,
images run one at a time.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Sequence
from itertools import chain, groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deepvis_caffe.engines.out_of_memory import ran_out
from deepvis_caffe.errors import ModelError, SettingsError
from deepvis_caffe.model.input_window import InputWindow
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.optimizer.shapes import layers_below

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

log = logging.getLogger(__name__)

U = TypeVar("U")

SMALLEST, LARGEST = 8, 256
SHARE = 0.25  # of the free memory, for a step
COPIES = 3  # of each value: itself, its diff and the engine's scratch memory
GAIN = 0.95  # double a batch if that reduces the time per image to at most this fraction


def resolve_batch_size(
    net: Net,
    layer: str,
    wanted: int | None = None,
    images: int = LARGEST,
    window: InputWindow | None = None,
) -> int:
    """The batch size for an ascent.

    Parameters
    ----------
    net, layer
        As for `optimize`.
    wanted
        Returned unchanged, unless the net's output for one image depends on the rest of its batch.
    images
        Number of images to run.
    window
        The part of the input that runs; None for all of it.

    Returns
    -------
    int
        1 if the output for one image depends on the rest of its batch. Otherwise the size is
        doubled, starting at 8, as long as it fits into free memory and reduces the measured time
        per image.
    """
    if wanted is not None and wanted < 1:
        raise SettingsError(f"batch_size must be at least 1; got {wanted}")
    if images == 1:
        return 1
    mixed = net.why_mixed(layer, start=True) if wanted != 1 else ""
    if mixed:
        log.warning(
            "images run one at a time, because the output for one image depends on the others in "
            "its batch: %s",
            mixed,
        )
        return 1
    return wanted or _measured(net, layer, min(images, LARGEST), window)


def cut(runs: Sequence[tuple[U, int]], most: int, whole: bool = False) -> list[list[tuple[U, int]]]:
    """Split runs into batches of nearly equal size, at most `most` each: 9 runs by 8 are 4 and 5.

    Parameters
    ----------
    runs
        The unit and seed of each image, grouped by unit.
    most
        Maximum batch size, at least 1.
    whole
        Whether to keep a unit's images together, even in a batch larger than `most`.
    """
    parts: list[list[tuple[U, int]]] = [[run] for run in runs]
    if whole:
        parts = [list(of_unit) for _, of_unit in groupby(runs, key=itemgetter(0))]
    in_batch = max(1, most // max(map(len, parts), default=1))
    count = -(-len(parts) // in_batch)
    edges = [len(parts) * i // count for i in range(count + 1)] if count else []
    return [list(chain.from_iterable(parts[a:b])) for a, b in pairwise(edges)]


def _measured(net: Net, layer: str, images: int, window: InputWindow | None) -> int:
    most = min(images, _most_in_memory(net, layer, window))
    # Do not split up to twice the smallest size: nine seeds are one batch, not four and five.
    size = SMALLEST if most > SMALLEST * 2 else most
    best = math.inf if size == most else seconds_per_image(net, layer, size, window)
    while 2 * size <= most:
        try:
            seconds = seconds_per_image(net, layer, 2 * size, window)
        except Exception as error:
            if not ran_out(error):
                raise
            break
        if seconds > GAIN * best:
            break
        size, best = 2 * size, seconds
    log.info("%s: %d images at a time", layer, size)
    return size


def seconds_per_image(net: Net, layer: str, size: int, window: InputWindow | None) -> float:
    """The time per image of a forward and backward pass of a batch: the faster of two."""
    channels, height, width = net.preprocessor.shape
    height, width = window.size if window else (height, width)
    x = net.ops.asarray(np.zeros((size, channels, height, width), np.float32))
    taken = []
    for _ in range(3):  # the first one, not counted, is a warm-up
        start = time.perf_counter()
        values = net.evaluate(x, layer)
        net.ops.numpy(net.input_gradient(values))
        taken.append(time.perf_counter() - start)
    return min(taken[1:]) / size


def _most_in_memory(net: Net, layer: str, window: InputWindow | None) -> int:
    """The largest number of images whose values fit into `SHARE` of the free memory."""
    one = bytes_per_image(net, layer, window.size if window else None)
    free = net.ops.free_memory()
    return max(1, int(SHARE * free / one)) if free and one else SMALLEST


def most_in_memory(net: Net, layer: str, size: tuple[int, int] | None = None) -> int:
    """The largest number of images whose values fit into the free memory; at least 1.

    An upper bound: it counts one copy of each value, which any engine needs. Caffe also keeps a
    diff for each, and aborts if an allocation fails.

    Parameters
    ----------
    net, layer, size
        As for `bytes_per_image`.
    """
    one = bytes_per_image(net, layer, size) // COPIES * (1 if net.engine == "torch" else 2)
    free = net.ops.free_memory()
    return max(1, free // one) if free is not None and one else sys.maxsize


def bytes_per_image(net: Net, layer: str, size: tuple[int, int] | None = None) -> int:
    """The approximate memory of a forward and backward pass for one image.

    Parameters
    ----------
    net, layer
        As for `optimize`.
    size
        Height and width of the image; by default the net's.

    Returns
    -------
    int
        0 if unknown.
    """
    below = layers_below(net, layer)
    shapes = {name: tuple(net.inputs[name]) for name in below.inputs}
    if size:
        image = net.image_input()
        shapes[image] = (*shapes[image][:2], *size)
    try:
        known = infer(below, {name: (1, *shape[1:]) for name, shape in shapes.items()}).values
    except ModelError:
        return 0
    return 4 * COPIES * sum(math.prod(shape) for shape in known.values())

"""Sensitivity of layers to small input changes: mean change in standard deviations.

Yosinski et al. 2015 (section "Visualizing Live Convnet Activations") watch a camera and find that
"the last three layers are sensitive to small input changes", often to nothing but the camera's
noise, and that "much of the lower layer computation is more robust". We measure this, so that it
can be checked on any net. For an input x, a slightly changed one x', and a layer of C units with P
positions each, the layer's movement is ::

    m(x, x') = mean over units c of  (mean over positions p of |a_cp(x') - a_cp(x)|) / s_c

where the spread s_c of a unit is the standard deviation of a_c over every position of every image
of a set. So m = 1 means that the layer moves as far as its values vary over the set, and m does not
change if a layer is scaled. Units whose spread is 0 are left out, and counted.

The set needs different images. Over the frames of a still scene the spread is the noise itself, and
every layer's movement is near 1; over a single image, units without a map have no spread at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.loader import Batch, check_prepared, load_batches
from deepvis_caffe.dataset.reduction import check_readable
from deepvis_caffe.dataset.scan import (
    ScanParams,
    default_batch_size,
    learned_layers,
    scan_images,
)
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.dataset.statistics import write_csv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.figures.plots import new_figure, write_figure
from deepvis_caffe.image import Floats
from deepvis_caffe.model.rows import check_has_units, without_units
from deepvis_caffe.progress import ProgressCallback


@dataclass(frozen=True, eq=False)
class Pair:
    """An input, and the same slightly changed.

    Attributes
    ----------
    name
        The image's name, and how it was changed.
    x, changed
        The net's inputs, float32 (C, H, W).
    """

    name: str
    x: Floats
    changed: Floats


@dataclass(frozen=True, eq=False)
class Spread:
    """The standard deviation of each unit's values over a set of images.

    Attributes
    ----------
    images
        The number of images.
    layers
        By name, float64 (C,); 0 for units that never change, up to the rounding of float32.
    """

    images: int
    layers: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Movement:
    """The movement of one layer.

    Attributes
    ----------
    layer, type
        Its name, and its type in Caffe.
    units, constant
        The number of units, and how many of them were left out because their spread is 0.
    pairs
        float64 (N,): the movement for each pair; NaN if every unit was left out.
    """

    layer: str
    type: str
    units: int
    constant: int
    pairs: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The mean over all pairs."""
        return float(self.pairs.mean())


def sensitivity_layers(net: Net) -> tuple[str, ...]:
    """The layers measured by default: those with weights, and the net's outputs."""
    graph = net.model.graph
    skipped = without_units(graph)
    values = {name: graph.blob_value(name) for name in net.outputs}
    outputs = [
        name
        for name, value in values.items()
        if len(net.shapes[value]) > 1 and value not in skipped
    ]
    own = {graph.activation(name): name for name in [*learned_layers(net), *outputs]}
    return tuple(dict.fromkeys(own.values()))


def layers_spread(
    net: Net,
    source: Source,
    layers: Sequence[str],
    threads: int = 1,
    progress: ProgressCallback | None = None,
) -> Spread:
    """Measure the spread of every unit over the images of a source.

    Parameters
    ----------
    layers
        Names of layers or blobs; see `deepvis_caffe.dataset.scan.ScanParams`.
    threads
        Number of threads that decode.
    progress
        Called with the number of images done, and of all images.

    Raises
    ------
    ImageError
        None of the images can be read.
    UnknownNameError, ModelError
        The net has no such layer, or it has no units.
    """

    def report(done: int) -> None:
        if progress:
            progress(done, len(source))

    params = ScanParams(tuple(layers), 1)
    scan = scan_images(net, source, params, threads=threads, progress=report)
    if not scan.images:
        name, why = scan.skipped[0]
        raise ImageError(f"none of the {len(source):,} images can be used; {name}: {why}")
    spread = {}
    for name, found in scan.layers.items():
        spread[name] = np.where(found.moments.constant(), 0.0, found.moments.deviation())
    return Spread(scan.images, spread)


def noisy_pairs(
    net: Net,
    source: Source,
    noise: float,
    rng: np.random.Generator,
    repeats: int = 1,
    threads: int = 1,
) -> Iterator[Pair]:
    """Pair every image with itself plus normal noise, independent at each pixel and channel.

    The noise is added to the net's input, at the input's size. The result is clipped to the range
    of pictures.

    Parameters
    ----------
    noise
        Standard deviation, in gray levels of 255.
    rng
        Source of the noise; images are taken in order.
    repeats
        Number of pairs per image.

    Raises
    ------
    SettingsError
        The noise is not above 0.
    ImageError
        The source holds prepared inputs that do not fit the net.
    """
    if not (np.isfinite(noise) and noise > 0):
        raise SettingsError(f"noise must be a number of gray levels above 0, got {noise}")
    pre = net.preprocessor
    for batch in _batches(net, source, threads):
        for index, x in zip(batch.indices, batch.images, strict=True):
            for number in range(repeats):
                grain = rng.standard_normal(x.shape, np.float32) * np.float32(noise)
                changed = np.clip(x + grain * np.float32(pre.pixel_scale), pre.low, pre.high)
                name = f"{source.names[index]}, noise {number + 1}"
                yield Pair(name, x, changed.astype(np.float32))


def frame_pairs(net: Net, source: Source, threads: int = 1) -> Iterator[Pair]:
    """Pair every image with the next one, for the frames of a video.

    Raises
    ------
    ImageError
        The source holds prepared inputs that do not fit the net.
    """
    before: tuple[int, Floats] | None = None
    for batch in _batches(net, source, threads):
        for index, x in zip(batch.indices, batch.images, strict=True):
            if before is not None and before[0] == index - 1:  # none in between was unreadable
                yield Pair(f"{source.names[index - 1]} to {source.names[index]}", before[1], x)
            before = index, x


def measure_sensitivity(
    net: Net,
    pairs: Iterable[Pair],
    spread: Spread,
    batch_size: int | None = None,
    progress: ProgressCallback | None = None,
    count: int = 0,
) -> list[Movement]:
    """Measure how far each layer moves for each pair; see the module's docstring.

    Parameters
    ----------
    pairs
        At least one, from `noisy_pairs` or `frame_pairs`.
    spread
        The spread of the layers to measure, from `layers_spread`.
    batch_size
        Pairs per batch.
    progress, count
        Called with the number of pairs done, and `count`.

    Returns
    -------
    list
        One for each layer, in the order of `spread`.

    Raises
    ------
    ImageError
        There are no pairs, or a layer's values for one are not finite.
    """
    graph = net.model.graph
    layers = {name: graph.activation_name(name) for name in spread.layers}
    for name in layers:
        check_has_units(graph, name, graph.activation(name))
        check_readable(name, net.shapes.get(graph.activation(name)))
    size = batch_size or max(1, default_batch_size(net) // 2)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in layers}
    waiting, done = iter(pairs), 0
    while batch := list(islice(waiting, size)):
        moved = _moved(net, batch, size, dict.fromkeys(layers.values()))
        for name, blob in layers.items():
            far = moved[blob][: len(batch)]
            if not np.isfinite(far).all():
                bad = int(np.flatnonzero(~np.isfinite(far).all(axis=1))[0])
                raise ImageError(f"layer {name!r} is not finite for {batch[bad].name}")
            own = spread.layers[name]
            used = own > 0
            share = far[:, used] / own[used]
            found[name].append(share.mean(axis=1) if used.any() else np.full(len(far), np.nan))
        done += len(batch)
        if progress:
            progress(done, count)
    if not done:
        raise ImageError("there is nothing to compare: it takes an image, or two frames of a video")
    return [
        Movement(
            layer=name,
            type=graph.producer[graph.own_output(name)].type,  # not that of an in-place ReLU
            units=len(spread.layers[name]),
            constant=int((spread.layers[name] == 0).sum()),
            pairs=np.concatenate(found[name]),
        )
        for name in layers
    ]


def _moved(
    net: Net, batch: Sequence[Pair], size: int, blobs: Iterable[str]
) -> dict[str, NDArray[np.float64]]:
    """The mean absolute change of each unit over positions, (size, C), by blob."""
    # Always batches of the same size, so that rounding is the same.
    full = [*batch, *[batch[-1]] * (size - len(batch))]
    x = np.stack([pair.x for pair in full] + [pair.changed for pair in full])
    inputs: dict[str, Floats] = {net.image_input(): x, **net.other_inputs(x)}

    def reducer(blob: str, value: Any) -> NDArray[np.float64]:
        flat = value.reshape((*tuple(value.shape)[:2], -1))
        far = net.ops.xp.abs(flat[size:] - flat[:size])
        return np.asarray(net.ops.numpy(far.mean(axis=2)), np.float64)

    return net.reduce(inputs, list(blobs), reducer)


def _batches(net: Net, source: Source, threads: int) -> Iterator[Batch]:
    check_prepared(source, net.preprocessor)
    return load_batches(
        source, net.preprocessor, range(len(source)), max(2, default_batch_size(net) // 2), threads
    )


LOW, HIGH = 10, 90  # percentiles at the ends of the plot's error bars
COLUMNS = ("layer", "type", "units", "constant", "mean", "low", "high", "highest")


def write_movements(path: Path, movements: Sequence[Movement]) -> Path:
    """Write a CSV file with a row per layer, in the order of the net.

    ``low`` and ``high`` are the 10th and the 90th percentile over the pairs. They are empty for a
    layer whose units were all left out.

    Raises
    ------
    ResultsError
        It cannot be written.
    """
    return write_csv(path, COLUMNS, [_row(one) for one in movements])


def plot_movements(path: Path, movements: Sequence[Movement], title: str) -> Path:
    """Plot the movement of each layer, in the order of the net.

    Parameters
    ----------
    path
        Ends in ``.png``.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    ImageError
        The file cannot be written.
    """
    known = [one for one in movements if not np.isnan(one.pairs).all()]
    width = max(6, 2 + 0.38 * len(known))
    figure = new_figure(width, 5.5, "give --no-plots for the table alone")
    axes = figure.subplots()
    if known:
        places = np.arange(len(known))
        means = np.array([one.mean for one in known])
        low, high = (np.array([np.percentile(one.pairs, p) for one in known]) for p in (LOW, HIGH))
        colours = ["tab:blue" if one.type == "Convolution" else "tab:orange" for one in known]
        axes.bar(places, means, color=colours)
        # A few pairs that move far may take the mean beyond the percentiles.
        beyond = [np.maximum(means - low, 0), np.maximum(high - means, 0)]
        axes.errorbar(places, means, yerr=beyond, fmt="none", ecolor="black", capsize=2, lw=1)
        axes.set_xticks(places, [one.layer for one in known], rotation=90)
    axes.set(title=title, ylabel="movement / spread (mean; bars: 10th to 90th percentile)")
    return write_figure(path, figure)


def _row(one: Movement) -> list[object]:
    known = not np.isnan(one.pairs).all()
    numbers = [one.mean, *np.percentile(one.pairs, [LOW, HIGH]), one.pairs.max()] if known else []
    values = [f"{number:.6g}" for number in numbers] or [""] * 4
    return [one.layer, one.type, one.units, one.constant, *values]

r"""Channel moments: how far an image's feature maps are from those of photographs.

An image that excites a unit need not look like anything. Yin et al. 2020, "Dreaming to Distill:
Data-free Knowledge Transfer via DeepInversion", also pull the mean and variance of every channel of
many layers to those of natural images, which they take from a net's batch norms. Caffe's classic
nets have none, so we compute them on random crops of scikit-image's photographs: the mean :math:`m`
and standard deviation :math:`s` of each channel over its map, and the mean (:math:`\mu`) and spread
(:math:`\sigma`) of these over the crops. The departure of an image is

.. math:: \operatorname{mean}_{\text{layers, channels}}
   \left(\frac{m - \mu_m}{\sigma_m}\right)^2 + \left(\frac{s - \mu_s}{\sigma_s}\right)^2,

which for the crops themselves is 2 on average, for any net and layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.image import Floats, sample_image, sample_images
from deepvis_caffe.model.graph import Layer
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.sliding_window import convolution_window

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

PHOTOGRAPHS = (*sample_images(), "motorcycle")
CROPS, SMALLEST, SEED = 48, 0.35, 0  # number, and smallest fraction of a photograph's sides
BATCH = 8
MOST = 16  # layers whose moments are compared
FLOOR = 0.01  # minimum spread, relative to a layer's typical deviation, for dead channels
SAME = 1e-6  # relative epsilon under the root of a variance, whose slope a constant map would lack

Departure = Callable[[Mapping[str, Any]], tuple[Any, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of each channel of a layer over crops of photographs, (C,) each.

    Attributes
    ----------
    mean, mean_spread
        Mean and standard deviation, over crops, of the mean over the channel's map.
    deviation, deviation_spread
        The same for the standard deviation over the map.
    """

    mean: Floats
    mean_spread: Floats
    deviation: Floats
    deviation_spread: Floats


def moment_layers(net: Net, below: Sequence[str]) -> tuple[str, ...]:
    """The layers whose moments are compared for an objective that reads the layers `below`.

    They are convolutions on which these depend, at most `MOST`, evenly spaced; those with 1x1
    kernels are left out if there are others. Empty if the image does not have three channels:
    such nets were not trained on photographs.
    """
    if net.preprocessor.shape[0] != 3:
        return ()
    graph = net.model.graph
    starts = [graph.gradient_start(name) for name in below]
    sees = [layer for layer in graph.ancestors(starts) if layer.type == "Convolution"]
    chosen = [one for one in sees if graph.gradient_start(one.name) not in starts]
    wide = [one for one in chosen if _is_wide(net, one)] or chosen
    places = np.unique(np.linspace(0, len(wide) - 1, min(MOST, len(wide))).round().astype(int))
    return tuple(wide[place].name for place in places)


def _is_wide(net: Net, layer: Layer) -> bool:
    axes = len(net.shapes[layer.tops[0]]) - 2
    return max(convolution_window(layer.param.convolution_param, axes).kernel) > 1


# -- photographs ---------------------------------------------------------------------------------


def photograph_crops(preprocessor: Preprocessor, count: int = CROPS, seed: int = SEED) -> Floats:
    """Random crops of photographs as a net's input, (count, C, H, W), half of them mirrored."""
    generator = np.random.default_rng(seed)
    photographs = [sample_image(name)[..., :3] for name in PHOTOGRAPHS]
    _, height, width = preprocessor.shape
    whole = replace(preprocessor, resize="crop", resize_to=None)
    crops = []
    for place in range(count):
        photograph = photographs[place % len(photographs)]
        rows, columns = photograph.shape[:2]
        part = generator.uniform(SMALLEST, 1)
        scale = part * min(rows / height, columns / width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (
            generator.integers(0, most - own + 1)
            for most, own in zip((rows, columns), size, strict=True)
        )
        crop = photograph[top : top + size[0], left : left + size[1]]
        if generator.random() < 0.5:
            crop = crop[:, ::-1]
        crops.append(whole(np.ascontiguousarray(crop)))
    return np.stack(crops)


@dataclass(frozen=True, eq=False)
class PhotographValues:
    """A net's moments and values on crops of photographs.

    Attributes
    ----------
    moments
        By layer.
    values
        Values of other requested layers, with the crops on the first axis.
    """

    moments: dict[str, Moments]
    values: dict[str, Floats]


_known: WeakKeyDictionary[Net, dict[Any, PhotographValues]] = WeakKeyDictionary()


def photograph_values(
    net: Net,
    layers: Sequence[str],
    others: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> PhotographValues:
    """The moments of layers over crops of photographs, and the values of other layers.

    Parameters
    ----------
    net
        The net; runs only once for the same arguments.
    layers
        Names of layers with maps, as in `Net.evaluate_layers`.
    others
        Names of any layers.
    size
        Height and width of the crops; by default the input's.
    """
    size = size or (net.preprocessor.shape[1], net.preprocessor.shape[2])
    key = net.fingerprint, tuple(layers), tuple(others), size
    known = _known.setdefault(net, {})
    if key not in known:
        known[key] = _photograph_values(net, layers, others, size)
    return known[key]


def _photograph_values(
    net: Net, layers: Sequence[str], others: Sequence[str], size: tuple[int, int]
) -> PhotographValues:
    x = photograph_crops(net.preprocessor.for_shape(*size))
    means: dict[str, list[Floats]] = {name: [] for name in layers}
    deviations: dict[str, list[Floats]] = {name: [] for name in layers}
    values: dict[str, list[Floats]] = {name: [] for name in others}
    batch = 1 if any(net.why_mixed(name, start=True) for name in (*layers, *others)) else BATCH
    for first in range(0, len(x), batch):
        some = net.ops.asarray(x[first : first + batch])
        found = net.evaluate_layers(some, [*layers, *others])
        for name in layers:
            flat = net.ops.numpy(found[name])
            flat = flat.reshape(*flat.shape[:2], -1)
            means[name].append(flat.mean(axis=2))
            deviations[name].append(flat.std(axis=2))
        for name in others:
            values[name].append(net.ops.numpy(found[name]))
    return PhotographValues(
        {
            name: _moments(np.concatenate(means[name]), np.concatenate(deviations[name]))
            for name in layers
        },
        {name: np.concatenate(parts) for name, parts in values.items()},
    )


def _moments(means: Floats, deviations: Floats) -> Moments:
    typical = deviations.mean(axis=0)
    least = FLOOR * typical.mean() + np.finfo(np.float32).tiny
    return Moments(
        mean=means.mean(axis=0),
        mean_spread=means.std(axis=0) + least,
        deviation=typical,
        deviation_spread=deviations.std(axis=0) + least,
    )


# -- the departure from them ---------------------------------------------------------------------


def departure(ops: ArrayOps, moments: Mapping[str, Moments]) -> Departure:
    r"""A function that computes the departure from photographs' moments.

    Parameters
    ----------
    ops
        Operations on the engine's arrays.
    moments
        By layer.

    Returns
    -------
    callable
        Maps values by layer, (N, C, \*map), to the departure of each image (N,), an array of
        ``ops.for_numbers``, and its gradient with respect to the values, by layer.
    """
    wanted = {name: _on_device(ops, of) for name, of in moments.items()}

    def evaluate(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        total: Any = 0
        diffs = {}
        for name, of in wanted.items():
            number, diffs[name] = _layer_departure(ops, values[name], of, 1 / len(wanted))
            total = total + ops.numbers(number)
        return total, diffs

    return evaluate


def _on_device(ops: ArrayOps, moments: Moments) -> Mapping[str, Any]:
    same = SAME * (moments.deviation**2 + moments.deviation_spread**2)
    return {
        "mean": ops.asarray(moments.mean),
        "per_mean": ops.asarray(1 / moments.mean_spread),
        "deviation": ops.asarray(moments.deviation),
        "per_deviation": ops.asarray(1 / moments.deviation_spread),
        "same": ops.asarray(same),
    }


def _layer_departure(
    ops: ArrayOps, values: Any, of: Mapping[str, Any], weight: float
) -> tuple[Any, Any]:
    """``weight * mean over channels of the sum of both squared scores``, and its gradient."""
    shape = tuple(values.shape)
    axes = tuple(range(2, len(shape)))
    places: NDArray[Any] | int = int(np.prod(shape[2:]))
    per_map = (slice(None), slice(None), *(None,) * len(axes))
    mean = values.mean(axis=axes)
    away = values - mean[per_map]
    deviation = ops.xp.sqrt((away * away).mean(axis=axes) + of["same"])
    mean_score = (mean - of["mean"]) * of["per_mean"]
    score = (deviation - of["deviation"]) * of["per_deviation"]
    number = weight * (mean_score * mean_score + score * score).mean(axis=1)
    slope = 2 * weight / (shape[1] * places)
    constant = slope * mean_score * of["per_mean"]
    factor = slope * score * of["per_deviation"] / deviation
    return number, constant[per_map] + factor[per_map] * away

"""Grad-CAM, ``(score, x (1, C, H, W)) -> map (H, W)``, and guided Grad-CAM, ``-> map (C, H, W)``.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", https://arxiv.org/abs/1610.02391
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from deepvis_caffe.attribution.gradients import guided
from deepvis_caffe.attribution.score import Score
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Floats, resize_image
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model

# Layers that only pool or scale the maps below them.
_SUMMARIES = ("Dropout", "LRN", "Pooling", "Split")


def grad_cam(score: Score, x: Floats, *, cam_layer: str | None = None) -> Floats:
    """The positive part of the sum of a layer's maps, each weighted by its mean gradient.

    ``max(0, sum over k of mean(dF / dA_k) * A_k)``, where A_k are the activation maps of
    `cam_layer`; bilinearly upsampled to the image's size.

    Parameters
    ----------
    score, x
        The score to attribute, and the image.
    cam_layer
        A layer or blob; by default the last maps through which all of the unit's input passes,
        usually those of the last convolution.

    Raises
    ------
    SettingsError
        The unit does not depend on that layer, or its value has no maps.
    """
    net, graph = score.net, score.net.model.graph
    value = last_maps(net.model, score.layer) if cam_layer is None else graph.activation(cam_layer)
    name = cam_layer or graph.value_name(value) or value.blob
    if value not in _below(net.model, score.layer):
        raise SettingsError(f"cam_layer {name!r} does not lead from the image to {score.layer!r}")
    read, send = graph.value_name(value), graph.diff_name(value)
    if read is None or send is None:
        raise SettingsError(f"cam_layer {name!r} has no name of its own; choose another layer")
    top = graph.activation_name(score.layer)
    values = net.forward({net.image_input(): x, **net.other_inputs(x)}, [read, top])
    maps = values[read]
    if maps.ndim != 4:
        raise SettingsError(f"cam_layer {name!r} has no maps: its shape is {maps.shape}")
    diff = net.backward(score.layer, score.diff(values[top].shape), "gradient", [send])[send]
    alphas = diff[0].mean(axis=(1, 2))
    cam = np.maximum(np.tensordot(alphas, maps[0], axes=1), 0)
    return np.asarray(resize_image(cam, *x.shape[2:]), np.float32)


def guided_grad_cam(score: Score, x: Floats, *, cam_layer: str | None = None) -> Floats:
    """Guided backpropagation times Grad-CAM.

    Parameters
    ----------
    score, x, cam_layer
        As for `grad_cam`.
    """
    return guided(score, x) * grad_cam(score, x, cam_layer=cam_layer)


def last_maps(model: Model, layer: str) -> Value:
    """The last value with maps through which all paths from the image to the layer's value lead.

    The tops of poolings, LRNs and Dropouts do not count.

    Raises
    ------
    SettingsError
        There is none.
    """
    for value in reversed(list(_bottlenecks(model, layer))):
        shape = model.shapes.get(value, ())
        summary = model.graph.producer[value].type in _SUMMARIES
        if len(shape) == 4 and prod(shape[2:]) > 1 and not summary:
            return value
    raise SettingsError(
        f"no single layer with maps lies between the image and {layer!r}: set cam_layer"
    )


def _bottlenecks(model: Model, layer: str) -> Iterator[Value]:
    """The values through which all paths from the image to the layer's value lead, in order."""
    graph, below = model.graph, _below(model, layer)
    ancestors = graph.ancestors([graph.gradient_start(layer)])
    last_read = {value: one.index for one in ancestors for value in one.bottoms}
    live: set[Value] = set()  # values that are computed by now and read later
    for one in ancestors:
        live = {value for value in live if last_read[value] > one.index}
        live.update(below.intersection(one.tops))
        if len(live) == 1 and one.bottoms:
            yield from live


def _below(model: Model, layer: str) -> set[Value]:
    """The values that depend on the image, and that the layer's value depends on."""
    ancestors = model.graph.ancestors([model.graph.gradient_start(layer)])
    read = {value for one in ancestors for value in one.bottoms}
    found = {Value(blob) for blob in model.image_inputs}
    for one in ancestors:
        if not found.isdisjoint(one.bottoms):
            found.update(one.tops)
    return found & read

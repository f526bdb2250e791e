"""Random weights for nets without a weights file, for tests, benchmarks and experiments."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.model.graph import Graph, Layer
from deepvis_caffe.model.shapes import Shapes
from deepvis_caffe.model.sliding_window import convolution_window

Array = NDArray[np.float32]

PIXEL_SPREAD = 64.0


def random_weights(
    shapes: Shapes, graph: Graph, rng: np.random.Generator
) -> dict[str, tuple[Array, ...]]:
    """Weights that keep activations of order 1 from the image to the last layer.

    Convolutions, deconvolutions and inner products are drawn as in He et al. 2015, "Delving Deep
    into Rectifiers", eq. 10. The first layers' are divided by 64, the spread of pixel values.
    BatchNorm has a mean, a variance near 1 and a scale factor other than 1. Scale is near 0.6, so
    that sums of residual branches stay small. Biases are small.

    Parameters
    ----------
    shapes, graph
        The net; `shapes` holds the shapes of its weights.
    rng
        The random generator. Equal states give equal weights.

    Returns
    -------
    dict
        float32 arrays by layer name. Parameters shared by name are the same array.
    """
    shared: dict[str, Array] = {}
    weights = {}
    for layer in graph:
        if layer.name not in shapes.weights:  # it has none, or they are unknown
            continue
        blobs = _draw(layer, shapes.weights[layer.name], graph, rng)
        for i, spec in enumerate(layer.param.param[: len(blobs)]):
            if spec.name:
                first = shared.setdefault(spec.name, blobs[i])
                same = first.shape == blobs[i].shape
                blobs[i] = first if same else first.reshape(blobs[i].shape)
        weights[layer.name] = tuple(blobs)
    return weights


def _draw(
    layer: Layer, shapes: tuple[tuple[int, ...], ...], graph: Graph, rng: np.random.Generator
) -> list[Array]:
    if layer.type == "BatchNorm":
        factor = rng.uniform(1.5, 3, shapes[2]).astype(np.float32)
        mean = _normal(rng, shapes[0], 0.1) * factor
        return [mean, _uniform(rng, shapes[1], 0.7, 1.4) * factor, factor]
    if layer.type in ("Scale", "Normalize"):
        first = 2 - len(layer.bottoms) if layer.type == "Scale" else 1
        scales = [_uniform(rng, shape, 0.4, 0.8) for shape in shapes[:first]]
        return scales + [_normal(rng, shape, 0.05) for shape in shapes[first:]]
    if layer.type == "PReLU":
        return [_uniform(rng, shape, 0.1, 0.4) for shape in shapes]
    if layer.type == "Bias":
        return [_normal(rng, shape, 0.05) for shape in shapes]
    return [
        _normal(rng, shape, 0.02 if i else _he(layer, shape, graph))
        for i, shape in enumerate(shapes)
    ]


def _he(layer: Layer, shape: tuple[int, ...], graph: Graph) -> float:
    if layer.type == "Deconvolution":
        # Kernels overlap: each output pixel sums 1 / stride^2 of the kernel's positions.
        param = layer.param.convolution_param
        window = convolution_window(param, len(shape) - 2)
        inputs = shape[0] // param.group * math.prod(window.kernel) / math.prod(window.stride)
    elif layer.type == "InnerProduct" and layer.param.inner_product_param.transpose:
        inputs = shape[0]
    elif layer.type == "Local":
        inputs = shape[2]
    else:
        inputs = math.prod(shape[1:])
    reads_input = any(graph.producer[value].type == "Input" for value in layer.bottoms)
    return math.sqrt(2 / max(inputs, 1)) / (PIXEL_SPREAD if reads_input else 1)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> Array:
    drawn = rng.standard_normal(shape, np.float32)
    return np.asarray(drawn * np.float32(std), np.float32)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    return np.asarray(rng.uniform(low, high, shape), np.float32)

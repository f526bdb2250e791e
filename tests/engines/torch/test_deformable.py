"""Deformable convolutions against loops over the definitions of the code of both papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.torch_layers import assert_computes, built, check_gradient, distinct, refused, run

from deepvis_caffe.engines.torch.layers import deformable

# kernel, stride, pad, dilation, groups of channels, groups with offsets of their own
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    ((2, 3), (1, 2), (1, 0), (1, 1), 1, 2),
    ((3, 2), (2, 1), (2, 1), (2, 1), 2, 1),
    ((1, 1), (1, 1), (0, 0), (1, 1), 2, 4),
]
X = distinct(2, 4, 3, 4)


def clamped(plane, y, x):
    """Dai et al.: nothing from a whole position past the last on, and the last up to there."""
    height, width = plane.shape
    if not (0 <= y < height and 0 <= x < width):
        return 0.0
    return faded(plane, min(y, height - 1), min(x, width - 1))


def faded(plane, y, x):
    """Zhu et al.: the four positions around, those off the map being 0."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += plane[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def slow(x, offsets, w, b, geometry, value, weights=None):
    """One tap at a time; offsets and weights are indexed by position of the top."""
    kernel, stride, pad, dilation, group, parts = geometry
    size = top_size(geometry)
    outputs, inputs = w.shape[:2]
    top = np.zeros((len(x), outputs, *size)) + b[:, None, None]
    for n, o, c, i, j, row, column in np.ndindex(len(x), outputs, inputs, *kernel, *size):
        channel = c + o // (outputs // group) * inputs
        tap = (channel // (x.shape[1] // parts) * kernel[0] + i) * kernel[1] + j
        y = row * stride[0] - pad[0] + i * dilation[0] + offsets[n, 2 * tap, row, column]
        across = (
            column * stride[1] - pad[1] + j * dilation[1] + offsets[n, 2 * tap + 1, row, column]
        )
        term = value(x[n, channel], y, across) * w[o, c, i, j]
        top[n, o, row, column] += term if weights is None else term * weights[n, tap, row, column]
    return top


def top_size(geometry):
    kernel, stride, pad, dilation, *_ = geometry
    return tuple(
        (n + 2 * p - (d * (k - 1) + 1)) // s + 1
        for n, k, s, p, d in zip(X.shape[2:], kernel, stride, pad, dilation, strict=True)
    )


def blobs(geometry):
    """Offsets, weights of taps, filters, bias; offsets reach past the edges, and none is whole."""
    rng = np.random.default_rng(0)
    kernel, *_, group, parts = geometry
    taps, size = parts * math.prod(kernel), top_size(geometry)
    offsets = rng.integers(-4, 4, (2, 2 * taps, *size)) + rng.uniform(
        0.1, 0.9, (2, 2 * taps, *size)
    )
    filters = rng.standard_normal((4, 4 // group, *kernel))
    return offsets, rng.uniform(0, 1, (2, taps, *size)), filters, rng.standard_normal(4)


def params(geometry, bias=True, modulated=False):
    kernel, stride, pad, dilation, group, parts = geometry
    fields = [
        f"num_output: 4 bias_term: {str(bias).lower()} group: {group} deformable_group: {parts}",
        *(f"kernel_{a}: {n}" for a, n in zip("hw", kernel, strict=True)),
        *(f"stride_{a}: {n}" for a, n in zip("hw", stride, strict=True)),
        *(f"pad_{a}: {n}" for a, n in zip("hw", pad, strict=True)),
        *(f"dilation: {n}" for n in dilation),
    ]
    name = "modulated_deformable_convolution_param" if modulated else "deformable_convolution_param"
    return f"{name} {{ {' '.join(fields)} }}"


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_deformable_convolution(geometry) -> None:
    offsets, _, w, b = blobs(geometry)
    layer = built("DeformableConvolution", params(geometry), [w, b], bottoms=2)
    assert_computes(layer, slow(X, offsets, w, b, geometry, clamped), X, offsets)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_modulated_deformable_convolution(geometry) -> None:
    offsets, weights, w, b = blobs(geometry)
    written = params(geometry, modulated=True)
    layer = built("ModulatedDeformableConvolution", written, [w, b], bottoms=3)
    expected = slow(X, offsets, w, b, geometry, faded, weights)
    assert_computes(layer, expected, X, offsets, weights)


@pytest.mark.parametrize("limit", [1, 300, 10**9])
def test_however_many_images_at_a_time(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "AT_ONCE", limit)
    geometry = GEOMETRIES[1]
    offsets, weights, w, b = (np.concatenate([one, one]) for one in blobs(geometry))
    w, b, x = w[:4], b[:4], np.concatenate([X, -X])
    written = params(geometry, modulated=True)
    layer = built("ModulatedDeformableConvolution", written, [w, b], bottoms=3)
    expected = slow(x, offsets, w, b, geometry, faded, weights)
    np.testing.assert_allclose(run(layer, x, offsets, weights), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("modulated", [False, True])
def test_without_images_there_is_nothing(modulated: bool) -> None:
    geometry = GEOMETRIES[1]
    offsets, weights, w, b = blobs(geometry)
    kind = "ModulatedDeformableConvolution" if modulated else "DeformableConvolution"
    bottoms = [one[:0] for one in [X, offsets, weights][: 2 + modulated]]
    layer = built(kind, params(geometry, modulated=modulated), [w, b], bottoms=len(bottoms))
    assert run(layer, *bottoms).shape == (0, len(w), *top_size(geometry))


def test_without_offsets_it_is_a_convolution() -> None:
    geometry = GEOMETRIES[2]
    _, _, w, _ = blobs(geometry)
    kernel, stride, pad, dilation, group, parts = geometry
    layer = built("DeformableConvolution", params(geometry, bias=False), [w], bottoms=2)
    offsets = np.zeros((2, 2 * parts * math.prod(kernel), *top_size(geometry)))
    expected = F.conv2d(torch.tensor(X), torch.tensor(w), None, stride, pad, dilation, group)
    np.testing.assert_allclose(run(layer, X, offsets), expected, rtol=1e-10, atol=1e-12)


def test_the_offsets_determine_the_number_of_groups() -> None:
    """Forks' defaults are 1 and 4."""
    geometry = GEOMETRIES[3]
    offsets, _, w, b = blobs(geometry)
    silent = params(geometry).replace("deformable_group: 4", "")
    layer = built("DeformableConvolution", silent, [w, b], bottoms=2)
    expected = slow(X, offsets, w, b, geometry, clamped)
    np.testing.assert_allclose(run(layer, X, offsets), expected, rtol=1e-10, atol=1e-12)


def test_offsets_of_the_bottoms_size_are_read_as_if_they_had_the_tops() -> None:
    """Most forks ask for them so, and index memory by the size of the top."""
    geometry = ((2, 3), (2, 2), (0, 0), (1, 1), 1, 1)
    offsets, weights, w, b = blobs(geometry)

    def in_memory(values):
        size = math.prod(X.shape[2:]) * values.shape[1] - math.prod(values.shape[1:])
        filler = np.full((len(values), size), 0.3)
        return np.concatenate([values.reshape(len(values), -1), filler], 1).reshape(
            *values.shape[:2], *X.shape[2:]
        )

    layer = built("DeformableConvolution", params(geometry), [w, b], bottoms=2)
    expected = slow(X, offsets, w, b, geometry, clamped)
    assert_computes(layer, expected, X, in_memory(offsets))
    written = params(geometry, modulated=True)
    layer = built("ModulatedDeformableConvolution", written, [w, b], bottoms=3)
    expected = slow(X, offsets, w, b, geometry, faded, weights)
    top = run(layer, X, in_memory(offsets), in_memory(weights))
    np.testing.assert_allclose(top, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["clamped", "faded"])
def test_a_map_of_one_position(kind: str) -> None:
    """Between -1 and 1 of one position of value 1, of which only one paper's code fades it out."""
    x = np.ones((1, 1, 1, 1))
    values = {}
    for offset in (-1.5, -0.5, 0.5, 1.5):
        moved = np.array([offset, 0.25]).reshape(1, 2, 1, 1)
        if kind == "clamped":
            text = "deformable_convolution_param { num_output: 1 kernel_size: 1 bias_term: false }"
            layer = built("DeformableConvolution", text, [x], bottoms=2)
            values[offset] = run(layer, x, moved).item()
            check_gradient(layer, x, moved)
        else:
            text = "modulated_deformable_convolution_param { num_output: 1 kernel_size: 1 "
            layer = built(
                "ModulatedDeformableConvolution", text + "bias_term: false }", [x], bottoms=3
            )
            values[offset] = run(layer, x, moved, x).item()
            check_gradient(layer, x, moved, x)
    expected = [0, 0, 1, 0] if kind == "clamped" else [0, 0.375, 0.375, 0]
    np.testing.assert_allclose(list(values.values()), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "fields", "shapes", "message"),
    [
        ("Deformable", "", [(1, 4, 5, 6), (1, 18, 5, 6)], "num_output must be given"),
        (
            "Deformable",
            "num_output: 4 deformable_group: 2",
            [(1, 4, 5, 6), (1, 18, 5, 6)],
            "need 36 channels of offsets",
        ),
        (
            "Deformable",
            "num_output: 4 deformable_group: 3",
            [(1, 4, 5, 6), (1, 54, 5, 6)],
            "4 channels cannot be split into 3 deformable groups",
        ),
        (
            "Deformable",
            "num_output: 4",
            [(1, 4, 5, 6), (1, 18, 4, 6)],
            "offsets must be of the top's (5, 6) positions, got (4, 6)",
        ),
        (
            "Deformable",
            "num_output: 4 group: 3",
            [(1, 4, 5, 6), (1, 18, 5, 6)],
            "cannot be split into 3 groups",
        ),
        (
            "Deformable",
            "num_output: 4",
            [(1, 4, 5, 6), (1, 18, 5, 6), (1, 9, 5, 6)],
            "takes 2 bottom blobs, got 3",
        ),
        (
            "ModulatedDeformable",
            "num_output: 4",
            [(1, 4, 5, 6), (1, 18, 5, 6), (1, 18, 5, 6)],
            "need 9 channels of weights",
        ),
    ],
)
def test_what_makes_no_sense(kind: str, fields: str, shapes, message: str) -> None:
    name = "modulated_deformable" if kind == "ModulatedDeformable" else "deformable"
    text = f"{name}_convolution_param {{ kernel_size: 3 pad: 1 {fields} }}"
    assert message in refused(f"{kind}Convolution", text, *shapes)

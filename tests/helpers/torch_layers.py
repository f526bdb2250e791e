"""Single layers of the torch engine in float64: run them, and check their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from google.protobuf import text_format

from deepvis_caffe.engines.torch import layers  # noqa: F401 (fills the registry)
from deepvis_caffe.engines.torch.layer import Layer, build
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import RULES
from helpers.engine_nets import layer

Array = np.ndarray


def built(
    kind: str,
    params: str = "",
    weights: Sequence[Array] = (),
    bottoms: int = 1,
    tops: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Layer:
    """One layer."""
    sources = [layer(f"x{i}", "Input", "") for i in range(bottoms)]
    names = " ".join(f"x{i}" for i in range(bottoms))
    text = "\n".join([*sources, layer("l", kind, names, " ".join("abcdef"[:tops]), params)])
    net = text_format.Parse(text, NetParameter())
    tested = Graph.from_layers("test", net.layer).layer("l")
    tensors = (torch.tensor(w, dtype=dtype) for w in weights)
    return build(tested, [torch.nn.Parameter(w, requires_grad=False) for w in tensors])


def run(layer: Layer, *bottoms: Array) -> Array:
    """The layer's top; its first one where it has several."""
    top = layer(*(torch.tensor(x, dtype=torch.float64) for x in bottoms))
    return (top[0] if isinstance(top, tuple) else top).detach().numpy()


def run_all(layer: Layer, *bottoms: Array) -> list[Array]:
    """All of the layer's tops."""
    return [top.numpy() for top in layer(*(torch.tensor(x) for x in bottoms))]


def gradients(layer: Layer, dy: Array, *bottoms: Array) -> list[Array]:
    """The diff of each bottom for the diff `dy` of the first top, as a pass computes it."""
    xs = [torch.tensor(x, dtype=torch.float64) for x in bottoms]
    with torch.no_grad():
        _, saved = layer.fwd(*xs)
        found = layer.bwd(saved, [torch.tensor(dy)], "gradient")
    return _filled(found, bottoms)


def autograd(layer: Layer, dy: Array, *bottoms: Array) -> list[Array]:
    """The same by autograd through the layer as a module."""
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in bottoms]
    top = layer(*leaves)
    top = top[0] if isinstance(top, tuple) else top
    found = torch.autograd.grad(top, leaves, torch.tensor(dy), allow_unused=True)
    return _filled(found, bottoms)


def assert_computes(
    layer: Layer, expected: Array, *bottoms: Array, differentiable: Sequence[int] | None = None
) -> None:
    """The first top is `expected`, of the shape that the shape rule says, with its gradient.

    Parameters
    ----------
    layer
        What is tested, in float64.
    expected
        Its first top, from an oracle.
    bottoms
        What it runs on.
    differentiable
        Numbers of the bottoms whose gradient is checked; all by default.
    """
    rule = RULES[layer.layer.type](layer.param, [np.shape(x) for x in bottoms])
    assert [tuple(blob.shape) for blob in layer.parameters()] == list(rule.weights)
    got = run(layer, *bottoms)
    only = layer(*(torch.tensor(x, dtype=torch.float64) for x in bottoms))
    assert isinstance(only, torch.Tensor) == (len(layer.layer.tops) == 1)
    assert got.shape == tuple(rule.tops[0])
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    check_gradient(layer, *bottoms, only=differentiable)


def refused(kind: str, params: str, *shapes: tuple[int, ...]) -> str:
    """What the shape rule has against bottoms of these shapes."""
    param = built(kind, params, bottoms=len(shapes)).param
    try:
        RULES[kind](param, list(shapes))
    except ModelError as error:
        return str(error)
    raise AssertionError(f"{kind} accepts {params or 'no parameters'} and {shapes}")


def check_gradient(
    layer: Layer, *bottoms: Array, step: float = 1e-6, only: Sequence[int] | None = None
) -> None:
    """The diff of every value of the bottoms, both ways, equals the central difference.

    Of all bottoms, or of those numbered in `only`. They must keep away from kinks by more than
    `step`.
    """
    rng = np.random.default_rng(0)
    bottoms = tuple(np.array(x, np.float64) for x in bottoms)
    dy = np.asarray(rng.standard_normal(run(layer, *bottoms).shape))
    ways = [autograd(layer, dy, *bottoms)]
    if len(layer.layer.tops) == 1:
        ways.append(gradients(layer, dy, *bottoms))
    for i, x in enumerate(bottoms):
        if only is not None and i not in only:
            continue
        expected = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            sides = []
            for sign in (1, -1):
                moved = x.copy()
                moved[at] += sign * step
                args = (*bottoms[:i], moved, *bottoms[i + 1 :])
                sides.append((run(layer, *args) * dy).sum())
            expected[at] = (sides[0] - sides[1]) / (2 * step)
        for found in ways:
            np.testing.assert_allclose(found[i], expected, rtol=1e-6, atol=1e-7)


def _filled(found: Sequence[torch.Tensor | None], bottoms: Sequence[Array]) -> list[Array]:
    pairs = zip(bottoms, found, strict=True)
    return [np.zeros_like(x) if dx is None else dx.numpy() for x, dx in pairs]


def distinct(*shape: int, seed: int = 0) -> Array:
    """Values in (-1, 1), all different and away from 0: safe for maxima and rectifiers."""
    count = int(np.prod(shape))
    values = (np.arange(count) + 0.25) / count * 2 - 1
    return np.random.default_rng(seed).permutation(values).reshape(shape)

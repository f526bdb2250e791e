"""Single layers of the torch engine in float64: run them, and check their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from google.protobuf import text_format

from deepvis_caffe.engines.torch import layers  # noqa: F401 (fills the registry)
from deepvis_caffe.engines.torch.registry import Run, Setup, build
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.schema_pb2 import NetParameter
from helpers.engine_nets import layer

Array = np.ndarray


def built(
    kind: str,
    params: str = "",
    weights: Sequence[Array] = (),
    bottoms: int = 1,
    tops: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Run:
    """The function of one layer."""
    sources = [layer(f"x{i}", "Input", "") for i in range(bottoms)]
    names = " ".join(f"x{i}" for i in range(bottoms))
    text = "\n".join([*sources, layer("l", kind, names, " ".join("abcdef"[:tops]), params)])
    net = text_format.Parse(text, NetParameter())
    tested = Graph.from_layers("test", net.layer).layer("l")
    return build(Setup(tested, tuple(torch.tensor(w, dtype=dtype) for w in weights)))


def run(function: Run, *bottoms: Array) -> Array:
    """The layer's top; its first one where it has several."""
    top = function(*(torch.tensor(x, dtype=torch.float64) for x in bottoms))
    return (top[0] if isinstance(top, tuple) else top).detach().numpy()


def run_all(function: Run, *bottoms: Array) -> list[Array]:
    """All of the layer's tops."""
    return [top.numpy() for top in function(*(torch.tensor(x) for x in bottoms))]


def gradients(function: Run, dy: Array, *bottoms: Array) -> list[Array]:
    """The diff of each bottom for the diff `dy` of the first top."""
    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in bottoms]
    top = function(*leaves)
    top = top[0] if isinstance(top, tuple) else top
    return [dx.numpy() for dx in torch.autograd.grad(top, leaves, torch.tensor(dy))]


def check_gradient(function: Run, *bottoms: Array, step: float = 1e-6) -> None:
    """Autograd's diff of every value of every bottom equals the central difference.

    `bottoms` must keep away from kinks by more than `step`.
    """
    rng = np.random.default_rng(0)
    bottoms = tuple(np.array(x, np.float64) for x in bottoms)
    dy = np.asarray(rng.standard_normal(run(function, *bottoms).shape))
    found = gradients(function, dy, *bottoms)
    for i, x in enumerate(bottoms):
        expected = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            sides = []
            for sign in (1, -1):
                moved = x.copy()
                moved[at] += sign * step
                args = (*bottoms[:i], moved, *bottoms[i + 1 :])
                sides.append((run(function, *args) * dy).sum())
            expected[at] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(found[i], expected, rtol=1e-6, atol=1e-7)


def distinct(*shape: int, seed: int = 0) -> Array:
    """Values in (-1, 1), all different and away from 0: safe for maxima and rectifiers."""
    count = int(np.prod(shape))
    values = (np.arange(count) + 0.25) / count * 2 - 1
    return np.random.default_rng(seed).permutation(values).reshape(shape)

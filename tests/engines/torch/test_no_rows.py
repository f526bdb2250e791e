"""A detector may find nothing: layers on zero rows, and on one of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.engine_nets import noise
from helpers.torch_layers import built

X = noise(3, 4, 5, 5)
CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 %s }"
SAMPLE = "pooling_param { kernel_size: 3 stride: 2 pool: %s }"
LAYERS: Sequence[tuple[str, str, Sequence[np.ndarray]]] = [
    ("InnerProduct", "inner_product_param { num_output: 2 }", [noise(2, 100), noise(2)]),
    ("InnerProduct", "inner_product_param { num_output: 2 axis: 2 }", [noise(2, 25), noise(2)]),
    ("Convolution", CONVOLUTION % "", [noise(4, 4, 3, 3), noise(4)]),
    ("Convolution", CONVOLUTION % "dilation: 2", [noise(4, 4, 3, 3), noise(4)]),
    ("Convolution", CONVOLUTION % "group: 4", [noise(4, 1, 3, 3), noise(4)]),
    ("Deconvolution", CONVOLUTION % "", [noise(4, 4, 3, 3), noise(4)]),
    ("Pooling", SAMPLE % "MAX", []),
    ("Pooling", SAMPLE % "AVE", []),
    ("Pooling", "pooling_param { global_pooling: true pool: AVE }", []),
    ("BatchNorm", "", [noise(4), noise(4) ** 2, np.ones(1, np.float32)]),
    ("Scale", "scale_param { bias_term: true }", [noise(4), noise(4)]),
    ("PReLU", "", [noise(4)]),
    ("ReLU", "", []),
    ("Sigmoid", "", []),
    ("Softmax", "", []),
    ("LRN", "", []),
    ("Flatten", "", []),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", []),
    ("Reshape", "reshape_param { shape { dim: -1 dim: 100 } }", []),
    ("Reshape", "reshape_param { shape { dim: -1 dim: 2 } num_axes: 2 }", []),
    ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", []),
    ("Reduction", "reduction_param { axis: 1 operation: MEAN }", []),
    ("ArgMax", "argmax_param { axis: 1 }", []),
    ("NormalizationL2", "", []),
]


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize(("kind", "params", "weights"), LAYERS)
def test_some_rows_are_those_of_all(
    kind: str, params: str, weights: Sequence[np.ndarray], rows: int
) -> None:
    """Their values and diffs, where a layer keeps rows apart: of none there are none."""
    layer = built(kind, params, weights, dtype=torch.float32)
    ran = []
    for x in (X, X[:rows]):
        bottom = torch.tensor(x)
        layer.check([bottom])
        (top,), saved = layer.fwd(bottom)
        dy = torch.arange(top.numel()).reshape(top.shape) * 0.01
        (dx,) = layer.bwd(saved, [dy], "gradient")
        ran.append([top] if dx is None else [top, dx])
    for whole, some in zip(*ran, strict=True):
        assert some.shape[1:] == whole.shape[1:]
        np.testing.assert_allclose(some, whole[: len(some)], rtol=1e-4, atol=1e-5)
    assert len(ran[1][0]) * len(X) == len(ran[0][0]) * rows

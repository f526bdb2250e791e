"""The engine's own convolution and matrix product: both paths of each, and every gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from helpers.torch_layers import built, check_gradient

from deepvis_caffe.engines.rules import relu_deconv, relu_guided
from deepvis_caffe.engines.torch import kernels, onednn
from deepvis_caffe.engines.torch.kernels import Convolution2d, ConvolutionOp
from deepvis_caffe.engines.torch.layers import dense
from deepvis_caffe.model.sliding_window import SlidingWindow

# (channels, outputs, window, group): one for each way of computing the gradient, and its edges
GEOMETRIES = {
    "turned": (4, 6, SlidingWindow((3, 2), (1, 1), (1, 0), (1, 1)), 1),
    "turned, groups and holes": (4, 6, SlidingWindow((3, 2), (1, 1), (2, 1), (2, 1)), 2),
    "wide padding": (2, 3, SlidingWindow((2, 2), (1, 1), (3, 3), (1, 1)), 1),
    "phases": (3, 4, SlidingWindow((3, 3), (2, 2), (0, 0), (1, 1)), 1),
    "phases, a long kernel": (3, 4, SlidingWindow((5, 7), (2, 3), (2, 1), (1, 1)), 1),
    "phases, a stride past the kernel": (3, 4, SlidingWindow((1, 2), (3, 3), (0, 0), (1, 1)), 1),
    "transposed, many channels": (9, 2, SlidingWindow((3, 3), (2, 2), (1, 1), (1, 1)), 1),
    "transposed, groups and holes": (4, 6, SlidingWindow((2, 3), (2, 3), (1, 0), (2, 1)), 2),
}
SIZES = [(7, 9), (8, 8), (9, 7)]


def kernel(name: str, dtype: torch.dtype, size=(8, 9)):
    channels, outputs, window, group = GEOMETRIES[name]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((outputs, channels // group, *window.kernel))
    bias, x = rng.standard_normal(outputs), rng.standard_normal((2, channels, *size))
    weight, bias, x = (torch.tensor(a, dtype=dtype) for a in (weight, bias, x))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    return Convolution2d(weight, bias, window, group), x, (weight, bias, window, group)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradient_by_finite_differences(name):
    convolution, x, _ = kernel(name, torch.float64, (7, 6))
    check_gradient(convolution, x.detach().numpy()[:1])


@pytest.mark.parametrize(("name", "size"), [*itertools.product(GEOMETRIES, SIZES)])
def test_float32_equals_float64(name, size):
    """In float32 oneDNN's packed weights are used, in float64 torch's own convolution."""
    assert onednn.usable(torch.zeros(1))
    single, x, _ = kernel(name, torch.float32, size)
    _, z, (weight, bias, window, group) = kernel(name, torch.float64, size)
    reference = F.conv2d(z, weight, bias, window.stride, window.pad, window.dilation, group)
    for relu_rule in (None, lambda: None):
        op = ConvolutionOp(single, relu_rule, few=False)
        (y,), saved = op.forward(x.detach())
        expected = reference if relu_rule is None else reference.relu()
        np.testing.assert_allclose(y.detach(), expected.detach(), rtol=1e-4, atol=1e-5)
        dy = torch.tensor(np.random.default_rng(1).standard_normal(y.shape))
        (dx,), _ = op.backward([dy.float()], saved, own=False)
        (dz,) = torch.autograd.grad(expected, z, dy, retain_graph=True)
        np.testing.assert_allclose(dx, dz, rtol=1e-4, atol=1e-4)


def test_packed_convolution_by_scipy():
    rng = np.random.default_rng(0)
    image, filters = rng.standard_normal((9, 11)), rng.standard_normal((3, 4))
    expected = scipy.signal.correlate(image, filters, "valid")[::2, ::3] + 0.5
    run = kernels.Correlate(
        torch.tensor(filters[None, None], dtype=torch.float32), torch.tensor([0.5]), (2, 3)
    )
    x = torch.tensor(image[None, None], dtype=torch.float32)
    np.testing.assert_allclose(run(x)[0, 0], expected, atol=1e-5)
    np.testing.assert_allclose(run(x, rectify=True)[0, 0], np.maximum(expected, 0), atol=1e-5)


def test_another_size_is_packed_anew():
    run = kernels.Correlate(torch.ones(1, 1, 2, 2), None)
    for shape in ((1, 1, 5, 5), (3, 1, 4, 9), (1, 1, 5, 5)):
        y = run(torch.ones(shape))
        np.testing.assert_array_equal(y, np.full((shape[0], 1, shape[2] - 1, shape[3] - 1), 4))


@pytest.mark.parametrize("rule", [relu_deconv, relu_guided])
def test_the_rule_of_a_fused_relu(rule):
    convolution, x, (weight, bias, window, _) = kernel("turned", torch.float64)
    before = F.conv2d(x, weight, bias, 1, window.pad)
    dy = torch.tensor(np.random.default_rng(1).standard_normal(before.shape))
    op = ConvolutionOp(convolution, lambda: rule, few=False)
    _, saved = op.forward(x.detach())
    (fused,), _ = op.backward([dy], saved, own=False)
    apart = torch.autograd.grad(before, x, rule(dy, before.detach()))[0]
    np.testing.assert_allclose(fused, apart, atol=1e-10)


@pytest.mark.parametrize("available", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
def test_inner_product_with_and_without_packed_weights(available, rows, monkeypatch):
    if not available:
        monkeypatch.setattr(dense, "usable", lambda x: False)
    rng = np.random.default_rng(0)
    w, b, x = (
        rng.standard_normal((4, 12)),
        rng.standard_normal(4),
        rng.standard_normal((5, 3, 2, 2)),
    )
    run = built(
        "InnerProduct", "inner_product_param { num_output: 4 }", [w, b], dtype=torch.float32
    )
    leaf = torch.tensor(x[:rows], dtype=torch.float32, requires_grad=True)
    y = run(leaf)
    np.testing.assert_allclose(y.detach(), x[:rows].reshape(rows, -1) @ w.T + b, atol=1e-5)
    dy = rng.standard_normal((rows, 4))
    (dx,) = torch.autograd.grad(y, leaf, torch.tensor(dy, dtype=torch.float32))
    np.testing.assert_allclose(dx, (dy @ w).reshape(rows, 3, 2, 2), atol=1e-5)


def test_without_onednn_torchs_own_convolution_runs(monkeypatch):
    monkeypatch.setattr(kernels, "usable", lambda x: False)
    monkeypatch.setattr(onednn.PackedConvolution, "__call__", None)
    convolution, x, (weight, bias, window, _) = kernel("turned", torch.float32)
    expected = F.conv2d(x, weight, bias, 1, window.pad).relu()
    (y,), _ = ConvolutionOp(convolution, lambda: None, few=False).forward(x.detach())
    np.testing.assert_allclose(y, expected.detach(), atol=1e-5)

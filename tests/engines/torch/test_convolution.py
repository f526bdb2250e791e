"""Convolution and inner product, each way of computing them, and their gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.signal
import torch
from helpers.torch_layers import built, check_gradient

from deepvis_caffe.engines.torch.device import has_packed
from deepvis_caffe.engines.torch.layer import Layer
from deepvis_caffe.engines.torch.layers.convolution import Correlation
from deepvis_caffe.model.sliding_window import SlidingWindow

# (channels, outputs, kernel, stride, pad, dilation, group): one for each way to the gradient
GEOMETRIES = {
    "turned": (4, 6, (3, 2), (1, 1), (1, 0), (1, 1), 1),
    "turned, groups and holes": (4, 6, (3, 2), (1, 1), (2, 1), (2, 1), 2),
    "wide padding": (2, 3, (2, 2), (1, 1), (3, 3), (1, 1), 1),
    "phases": (3, 4, (3, 3), (2, 2), (0, 0), (1, 1), 1),
    "phases, a long kernel": (3, 4, (5, 7), (2, 3), (2, 1), (1, 1), 1),
    "phases, a stride past the kernel": (3, 4, (1, 2), (3, 3), (0, 0), (1, 1), 1),
    "transposed, many channels": (9, 2, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "transposed, groups and holes": (4, 6, (2, 3), (2, 3), (1, 0), (2, 1), 2),
}
SIZES = [(7, 9), (8, 8), (9, 7)]


def convolution(name: str, dtype: torch.dtype) -> Layer:
    channels, outputs, kernel, stride, pad, dilation, group = GEOMETRIES[name]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((outputs, channels // group, *kernel))
    fields = {"kernel": kernel, "stride": stride, "pad": pad}
    sizes = " ".join(
        f"{field}_{axis}: {n}"
        for field, pair in fields.items()
        for axis, n in zip("hw", pair, strict=True)
    )
    holes = " ".join(f"dilation: {n}" for n in dilation)
    params = f"convolution_param {{ num_output: {outputs} group: {group} {sizes} {holes} }}"
    return built("Convolution", params, [weight, rng.standard_normal(outputs)], dtype=dtype)


def images(name: str, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, GEOMETRIES[name][0], *size))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradient_by_finite_differences(name: str) -> None:
    check_gradient(convolution(name, torch.float64), images(name, (7, 6))[:1])


@pytest.fixture(params=[True, False], ids=["packed", "not packed"])
def packed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With oneDNN's operators on packed weights, and where oneDNN is switched off."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", request.param)
    assert has_packed(torch.zeros(1)) == request.param


@pytest.mark.parametrize(("name", "size"), [*itertools.product(GEOMETRIES, SIZES)])
def test_float32_equals_float64(packed: None, name: str, size: tuple[int, int]) -> None:
    single, double = convolution(name, torch.float32), convolution(name, torch.float64)
    x = torch.tensor(images(name, size), requires_grad=True)
    expected = double(x)
    few = x.detach().float().contiguous(memory_format=torch.channels_last)
    (y,), saved = single.fwd(few)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-4, atol=1e-5)
    dy = torch.tensor(np.random.default_rng(1).standard_normal(y.shape))
    (dx,) = single.bwd(saved, [dy.float()], "gradient")
    np.testing.assert_allclose(dx, torch.autograd.grad(expected, x, dy)[0], rtol=1e-4, atol=1e-4)


def test_convolution_by_scipy(packed: None) -> None:
    rng = np.random.default_rng(0)
    image, filters = rng.standard_normal((9, 11)), rng.standard_normal((3, 4))
    expected = scipy.signal.correlate(image, filters, "valid")[::2, ::3] + 0.5
    params = "kernel_h: 3 kernel_w: 4 stride_h: 2 stride_w: 3 num_output: 1"
    weights = [filters[None, None], np.array([0.5])]
    layer = built("Convolution", f"convolution_param {{ {params} }}", weights, dtype=torch.float32)
    (y,) = layer.infer(torch.tensor(image[None, None], dtype=torch.float32))
    np.testing.assert_allclose(y[0, 0], expected, atol=1e-5)


def test_images_of_another_size(packed: None) -> None:
    params = "convolution_param { num_output: 1 kernel_size: 2 bias_term: false }"
    layer = built("Convolution", params, [np.ones((1, 1, 2, 2))], dtype=torch.float32)
    for shape in ((1, 1, 5, 5), (3, 1, 4, 9), (1, 1, 5, 5)):
        (y,) = layer.infer(torch.ones(shape))
        np.testing.assert_array_equal(y, np.full((shape[0], 1, shape[2] - 1, shape[3] - 1), 4))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("transpose", [False, True])
def test_inner_product_in_float32(packed: None, rows: int, transpose: bool) -> None:
    rng = np.random.default_rng(0)
    w, b, x = (rng.standard_normal(shape) for shape in ((4, 12), 4, (rows, 3, 2, 2)))
    params = f"inner_product_param {{ num_output: 4 transpose: {str(transpose).lower()} }}"
    layer = built("InnerProduct", params, [w.T if transpose else w, b], dtype=torch.float32)
    (y,), saved = layer.fwd(torch.tensor(x, dtype=torch.float32))
    np.testing.assert_allclose(y, x.reshape(rows, -1) @ w.T + b, atol=1e-5)
    dy = rng.standard_normal((rows, 4))
    (dx,) = layer.bwd(saved, [torch.tensor(dy, dtype=torch.float32)], "gradient")
    np.testing.assert_allclose(dx, (dy @ w).reshape(x.shape), atol=1e-5)


def test_weights_that_were_changed() -> None:
    """What was packed or turned of the old ones is not used."""
    params = "convolution_param { num_output: 1 kernel_size: 1 bias_term: false }"
    layer = built("Convolution", params, [np.ones((1, 1, 1, 1))], dtype=torch.float32)
    dense = built(
        "InnerProduct", "inner_product_param { num_output: 1 bias_term: false }",
        [np.ones((1, 4))], dtype=torch.float32,
    )  # fmt: skip
    x = torch.ones(2, 1, 2, 2)
    for factor in (1, 3):
        for one in (layer, dense):
            with torch.no_grad():
                one.weight.fill_(factor)
            (y,), saved = one.fwd(x)
            assert (y == (factor if one is layer else 4 * factor)).all()
            (dx,) = one.bwd(saved, [torch.ones_like(y)], "gradient")
            assert (dx == factor).all()


def test_filters_are_packed_for_the_number_of_threads(capfd: pytest.CaptureFixture[str]) -> None:
    """In another layout, oneDNN reorders them in each call: its own log says so."""
    correlate = Correlation(SlidingWindow((1, 1), (1, 1), (0, 0), (1, 1)))
    weight, x = torch.rand(512, 1000, 1, 1), torch.rand(1, 1000, 14, 14)
    x = x.contiguous(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            correlate(x, weight)
            capfd.readouterr()
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                correlate(x, weight)
            log = capfd.readouterr().out
            assert "ic1000oc512" in log
            assert "reorder" not in log
    finally:
        torch.set_num_threads(before)

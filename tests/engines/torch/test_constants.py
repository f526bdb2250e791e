"""What a layer keeps from pass to pass fits the next one: its size, dtype and PyTorch's mode.

The oracle is a new layer, which has kept nothing.
"""

from __future__ import annotations

import pytest
import torch
from helpers.torch_layers import built
from torch._subclasses.fake_tensor import FakeTensorMode

LAYERS = {
    "Pooling": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }",
    "SPP": "spp_param { pyramid_height: 3 pool: AVE }",
    "Resample": "resample_param { height: 5 width: 7 }",
    "MaskResize": "mask_resize_param { output_height: 5 output_width: 7 }",
    "Gather": "gather_param { axis: 1 indices: 1 indices: 0 shape: 2 }",
}


@pytest.mark.parametrize("kind", LAYERS)
def test_each_size_and_dtype_has_its_own(kind: str) -> None:
    kept = built(kind, LAYERS[kind])
    # After each pass, one of another size, and one of another dtype.
    for size, dtype in zip(
        [(9, 8), (8, 9), (8, 9), (14, 9), (14, 9), (9, 8)],
        [torch.float64, torch.float64, torch.float32, torch.float32, torch.float64, torch.float64],
        strict=True,
    ):
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=dtype)
        found, expected = kept(x), built(kind, LAYERS[kind])(x)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", LAYERS)
def test_after_inference_and_tracing_there_is_a_gradient(kind: str) -> None:
    layer, x = built(kind, LAYERS[kind]), torch.ones(2, 3, 9, 8, dtype=torch.float64)
    with torch.inference_mode():
        layer(x)
    with FakeTensorMode(allow_non_fake_inputs=True) as traced:
        layer(traced.from_tensor(x))
    leaf = x.clone().requires_grad_()
    (dx,) = torch.autograd.grad(layer(leaf).sum(), leaf)
    other = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(built(kind, LAYERS[kind])(other).sum(), other)
    torch.testing.assert_close(dx, expected)

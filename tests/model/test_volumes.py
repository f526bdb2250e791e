"""Convolution and pooling over three axes, as forks write them, against real Caffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.engine_nets import arrays, layer, load_text, net_text, noise

from deepvis_caffe.model.dialects import translate
from deepvis_caffe.model.schema_pb2 import NetParameter

STOCK = (
    "convolution_param {{ num_output: 2 bias_term: true kernel_size: 2 "
    "kernel_size: 3 kernel_size: 3 "
    "stride: {} stride: {} stride: {} pad: {} pad: {} pad: {} }}"
)
C3D = "num_output: 2 kernel_size: 3 kernel_depth: 2 "


@pytest.mark.parametrize(
    ("kind", "params", "stock"),
    [
        ("Convolution3D", f"convolution3d_param {{ {C3D} }}", STOCK.format(1, 1, 1, 0, 0, 0)),
        (
            "Deconvolution3D",
            f"convolution3d_param {{ {C3D} stride: 2 temporal_stride: 3 filter_group: 2 }}",
            STOCK.format(3, 2, 2, 0, 0, 0),
        ),
        (
            "Convolution3D",
            f"convolution_param {{ {C3D} bias_term: true pad: 1 temporal_pad: 2 }}",
            STOCK.format(1, 1, 1, 2, 1, 1),
        ),
        (
            "NdConvolution",
            "convolution_param { num_output: 2 bias_term: true "
            "kernel_shape { dim: 2 dim: 3 dim: 3 } stride_shape { dim: 1 dim: 2 dim: 2 } "
            "pad_shape { dim: 0 dim: 1 dim: 1 } }",
            STOCK.format(1, 2, 2, 0, 1, 1),
        ),
    ],
)
def test_a_convolution_is_rewritten_in_stock_fields(kind: str, params: str, stock: str) -> None:
    ours = text_format.Parse(layer("c", kind, "data", "c", params), NetParameter())
    theirs = kind.replace("3D", "").replace("Nd", "")
    expected = text_format.Parse(layer("c", theirs, "data", "c", stock), NetParameter())
    faults: dict[str, str] = {}
    assert translate(ours, faults) == expected
    assert not faults


@pytest.mark.parametrize(
    "params",
    [
        "pooling3d_param { pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1 "
        "pad: 1 }",
        "pooling_param { pool: AVE kernel_size: 3 kernel_depth: 2 stride: 2 temporal_stride: 1 "
        "pad: 1 }",
    ],
)
def test_a_pooling_has_its_sizes_by_axis(params: str) -> None:
    ours = text_format.Parse(layer("p", "Pooling3D", "data", "p", params), NetParameter())
    expected = (
        "pooling_param { pool: AVE kernel_shape { dim: 2 dim: 3 dim: 3 } "
        "stride_shape { dim: 1 dim: 2 dim: 2 } pad_shape { dim: 0 dim: 1 dim: 1 } }"
    )
    stock = text_format.Parse(layer("p", "Pooling3D", "data", "p", expected), NetParameter())
    assert translate(ours, {}) == stock


def test_anothers_pooling_of_that_name_is_opaque() -> None:
    params = "pooling3d_param { kernel_d: 2 kernel_h: 3 kernel_w: 3 pad_d0: 1 }"
    faults: dict[str, str] = {}
    translate(
        text_format.Parse(layer("p", "Pooling3D", "data", "p", params), NetParameter()), faults
    )
    assert faults["p"].startswith("its kernel_d, pad_d0 belong to Synopsys's Pooling3D")


def test_a_convolution_along_time(engine: str, tmp_path: Path) -> None:
    """Each frame minus the one before it, on both engines."""
    params = "convolution_param { num_output: 1 kernel_shape { dim: 2 dim: 1 dim: 1 } }"
    text = net_text(layer("c", "NdConvolution", "data", "", params), data=(1, 1, 4, 2, 3))
    weights = arrays(c=(np.reshape([-1, 1], (1, 1, 2, 1, 1)), [0.5]))
    x = noise(1, 1, 4, 2, 3)
    got = load_text(engine, tmp_path, text, weights).forward(x)["c"]
    np.testing.assert_allclose(got, x[:, :, 1:] - x[:, :, :-1] + 0.5, rtol=1e-5, atol=1e-6)


@pytest.mark.pycaffe
def test_stock_caffe_pools_images_only(caffe: object, tmp_path: Path) -> None:
    """It would end the process; what does not depend on that layer runs."""
    pool = layer("p", "Pooling", "data", "", "pooling_param { kernel_size: 2 }")
    text = net_text(pool, layer("r", "ReLU", "data"), data=(1, 1, 4, 4, 4))
    net = load_text("pycaffe", tmp_path, text)
    assert "Caffe pools only blobs with 4 axes, its bottom has 5" in net.opaque["p"].reason
    x = noise(1, 1, 4, 4, 4)
    np.testing.assert_array_equal(net.forward(x, ["r"])["r"], np.maximum(x, 0))

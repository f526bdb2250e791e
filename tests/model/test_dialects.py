"""Fields of forks, against equivalent nets in stock Caffe's terms, written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from helpers.engine_nets import arrays, layer, load_text, net_text, noise

from deepvis_caffe.model.dialects import translate
from deepvis_caffe.model.schema_pb2 import NetParameter

CONV = 'name: "c" type: "Convolution" bottom: "data" top: "c"'


@pytest.mark.parametrize(
    ("fork", "stock"),
    [
        (
            f"layer {{ {CONV} convolution_param {{ num_output: 2 relu_param {{ }} }} }}",
            f"layer {{ {CONV} convolution_param {{ num_output: 2 }} }}"
            'layer { name: "c/relu" type: "ReLU" bottom: "c" top: "c" '
            "relu_param { negative_slope: 0 } }",
        ),
        (
            f"layer {{ {CONV} convolution_param {{ num_output: 2 relu: true negative_slope: 0.5 }} "
            "include { phase: TEST } }",
            f"layer {{ {CONV} convolution_param {{ num_output: 2 }} include {{ phase: TEST }} }}"
            'layer { name: "c/relu" type: "ReLU" bottom: "c" top: "c" '
            "relu_param { negative_slope: 0.5 } include { phase: TEST } }",
        ),
        (
            f"layer {{ {CONV} convolution_param {{ num_output: 2 fuse_type: UNFUSED }} }}",
            f"layer {{ {CONV} convolution_param {{ num_output: 2 }} }}",
        ),
        (
            f"layer {{ {CONV} convolution_param {{ kernel_size: 3 hole: 2 }} }}",
            f"layer {{ {CONV} convolution_param {{ kernel_size: 3 dilation: 2 }} }}",
        ),
        (
            f"layer {{ {CONV} convolution_param {{ kernel_size: 3 hole_h: 2 hole_w: 4 }} }}",
            f"layer {{ {CONV} convolution_param {{ kernel_size: 3 dilation: 2 dilation: 4 }} }}",
        ),
        (
            f"layer {{ {CONV} convolution_param {{ num_output: 6 }} }}".replace(
                "Convolution", "DepthwiseConvolution", 1
            ),
            f"layer {{ {CONV} convolution_param {{ num_output: 6 group: 6 }} }}",
        ),
        (
            'layer { name: "r" type: "Reorg" }',
            'layer { name: "r" type: "Reorg" reorg_param { stride: 2 } }',
        ),
        (
            'layer { name: "d" type: "Dropout" dropout_param { dropout_ratio: 0.25 '
            "scale_train: false } }",
            'layer { name: "d" type: "Power" power_param { scale: 0.75 } }',
        ),
        (
            'layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" batch_norm_param { '
            "eps: 0.001 scale_bias: true scale_filler { value: 1 } } }",
            'layer { name: "b" type: "BatchNorm" bottom: "c" top: "b" batch_norm_param { '
            'eps: 0.001 } } layer { name: "b/scale" type: "Scale" bottom: "b" top: "b" '
            "scale_param { bias_term: true } }",
        ),
        (
            f'layer {{ {CONV} convolution_param {{ relu: true }} }} layer {{ name: "c/relu" }}',
            f"layer {{ {CONV} convolution_param {{ }} }}"
            """ layer { name: "c/relu'" type: "ReLU" bottom: "c" top: "c" """
            'relu_param { negative_slope: 0 } } layer { name: "c/relu" }',
        ),
    ],
)
def test_a_forks_field_is_rewritten_in_stock_terms(fork: str, stock: str) -> None:
    ours, expected = (text_format.Parse(text, NetParameter()) for text in (fork, stock))
    faults: dict[str, str] = {}
    assert translate(ours, faults) == expected
    assert translate(expected, faults) == expected
    assert not faults


def test_what_cannot_be_rewritten_is_the_layers_error() -> None:
    fused = f"layer {{ {CONV} convolution_param {{ fuse_type: FUSED_CONV_ELTWISE_RELU }} }}"
    faults: dict[str, str] = {}
    translate(text_format.Parse(fused, NetParameter()), faults)
    assert list(faults) == ["c"]
    assert "FUSED_CONV_ELTWISE_RELU is not supported" in faults["c"]


def test_a_dropout_that_scales_in_phase_test(engine: str, tmp_path: Path) -> None:
    dropout = layer(
        "d", "Dropout", "data", "data", "dropout_param { dropout_ratio: 0.25 scale_train: false }"
    )
    net = load_text(engine, tmp_path, net_text(dropout, data=(1, 3, 4, 4)))
    x = noise(2, 3, 4, 4)
    np.testing.assert_allclose(net.forward(x, ["d"])["d"], 0.75 * x, rtol=1e-6)


def test_a_convolution_with_a_fused_relu_cannot_be_negative(engine: str, tmp_path: Path) -> None:
    params = "convolution_param { num_output: 2 kernel_size: 1 bias_term: false relu_param { } }"
    text = net_text(layer("c", "Convolution", "data", "c", params), data=(1, 1, 2, 2))
    net = load_text(engine, tmp_path, text, arrays(c=([[[[1]]], [[[-2]]]],)))
    x = np.array([[[[1, -2], [3, -4]]]], np.float32)
    expected = [[[[1, 0], [3, 0]], [[0, 4], [0, 8]]]]
    np.testing.assert_array_equal(net.forward(x)["c"], expected)


@pytest.mark.parametrize("said", ["scale_bias: true", "scale_filler { }", ""])
def test_nvidias_batch_norm_has_scale_and_bias_inside(
    engine: str, said: str, tmp_path: Path
) -> None:
    """Five blobs, statistics of shape (1, C, 1, 1); prototxts do not always say ``scale_bias``."""
    norm = layer("b", "BatchNorm", "data", "b", f"batch_norm_param {{ eps: 0 {said} }}")
    mean, variance, scale, bias = ([1, 2], [4, 9], [10, 100], [0.5, -0.5])
    blobs = [np.reshape(one, (1, 2, 1, 1)) for one in (mean, variance)]
    weights = arrays(b=(*blobs, [1], scale, bias))
    net = load_text(engine, tmp_path, net_text(norm, data=(1, 2, 1, 1)), weights)
    x = np.array([5, -4], np.float32).reshape(1, 2, 1, 1)
    expected = [10 * (5 - 1) / 2 + 0.5, 100 * (-4 - 2) / 3 - 0.5]
    np.testing.assert_allclose(net.forward(x)["b"].ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize("version", ["0.14", "0.15", "0.16"])
def test_nvidias_versions_order_their_blobs_otherwise(version: str, tmp_path: Path) -> None:
    norm = layer("b", "BatchNorm", "data", "b", "batch_norm_param { eps: 0 }")
    mean, variance, scale, bias = ([1, 2], [4, 9], [10, 100], [0.5, -0.5])
    blobs = {
        "0.14": (scale, bias, [0], mean, variance),
        "0.15": (scale, bias, mean, variance, [7]),
        "0.16": (mean, variance, [1], scale, bias),
    }[version]
    net = load_text("torch", tmp_path, net_text(norm, data=(1, 2, 1, 1)), arrays(b=blobs))
    x = np.array([5, -4], np.float32).reshape(1, 2, 1, 1)
    expected = [10 * (5 - 1) / 2 + 0.5, 100 * (-4 - 2) / 3 - 0.5]
    np.testing.assert_allclose(net.forward(x)["b"].ravel(), expected, rtol=1e-6)


NORM = 'name: "n" type: "Normalize" bottom: "data" top: "n"'


@pytest.mark.parametrize(
    ("params", "found", "of_ssd"),
    [
        ("", None, True),  # nothing is known
        ("", {"c": [np.ones(1)]}, False),  # it has no weights
        ("", {"n": [np.ones(1)]}, True),
        ("norm_param { }", {"c": [np.ones(1)]}, True),
        ("normalize_param { }", {"n": [np.ones(1)]}, False),
        ('top: "norms"', None, False),
    ],
)
def test_which_normalize_it_is(params: str, found: dict | None, of_ssd: bool) -> None:
    written = text_format.Parse(f"layer {{ {NORM} {params} }}", NetParameter())
    (norm,) = translate(written, {}, found).layer
    assert norm.HasField("normalize_param") is not of_ssd


def test_a_depthwise_convolution_has_as_many_outputs_as_weights() -> None:
    written = text_format.Parse(
        f"layer {{ {CONV} convolution_param {{ kernel_size: 3 }} }}".replace(
            "Convolution", "ConvolutionDepthwise", 1
        ),
        NetParameter(),
    )
    found = {"c": [np.ones((5, 1, 3, 3), np.float32)]}
    (conv,) = translate(written, {}, found).layer
    assert (conv.type, conv.convolution_param.num_output, conv.convolution_param.group) == (
        "Convolution",
        5,
        5,
    )


def test_a_deconvolution_by_cudnn_is_one() -> None:
    params = "convolution_param { num_output: 2 kernel_size: 4 stride: 2 group: 2 }"
    written = text_format.Parse(
        layer("up", "CuDNNDeconvolution", "data", "", params), NetParameter()
    )
    (up,) = translate(written, {}).layer
    assert (up.type, up.convolution_param) == ("Deconvolution", written.layer[0].convolution_param)


def test_ristrettos_layers_do_not_round_and_that_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = (
        "convolution_param { num_output: 1 kernel_size: 1 } quantization_param { bw_params: 4 }"
    )
    text = net_text(layer("c", "ConvolutionRistretto", "data", "", params), data=(1, 1, 2, 2))
    net = load_text("torch", tmp_path, text, arrays(c=([[[[0.3]]]], [0])))
    x = noise(1, 1, 2, 2)
    np.testing.assert_allclose(net.forward(x)["c"], np.float32(0.3) * x, rtol=1e-6)
    assert "quantization_param" in caplog.text
    assert "has no effect in 'c'" in caplog.text

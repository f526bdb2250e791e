"""The same net on a CUDA device and on the CPU; needs such a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, net_text, noise, relative_error, relu, weights_for

from deepvis_caffe.engines.load import load_net

NET = net_text(
    conv("conv1", "data", 6, 5, "stride: 2 pad: 1"),
    relu("relu1", "conv1"),
    layer("norm1", "LRN", "conv1", "", "lrn_param { local_size: 3 alpha: 2 }"),
    layer("pool1", "Pooling", "norm1", "", "pooling_param { kernel_size: 3 stride: 2 pad: 2 }"),
    conv("conv2", "pool1", 8, 3, "group: 2 pad: 1"),
    layer("bn2", "BatchNorm", "conv2"),
    layer("scale2", "Scale", "bn2", "", "scale_param { bias_term: true }"),
    layer("prelu2", "PReLU", "scale2"),
    layer(
        "up", "Deconvolution", "prelu2", "", "convolution_param { num_output: 8 kernel_size: 1 }"
    ),
    layer("both", "Concat", "prelu2 up"),
    layer("ave", "Pooling", "both", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
    layer("fc", "InnerProduct", "ave", "", "inner_product_param { num_output: 5 }"),
    layer("prob", "Softmax", "fc"),
    layer("best", "ArgMax", "prob"),
    data=(2, 3, 19, 23),
)


# One after the other, layers of forks that make tensors of their own or choose operators.
FORKS = net_text(
    conv("conv1", "data", 6, 3, "pad: 1"),
    layer("pool1", "Pooling", "conv1", "pool1 mask", "pooling_param { kernel_size: 2 stride: 2 }"),
    layer("relu6", "ReLU6", "pool1"),
    layer("back", "Upsample", "relu6 mask"),
    layer("shuffle", "ShuffleChannel", "back", "", "shuffle_channel_param { group: 2 }"),
    layer("swish", "HardSwish", "shuffle"),
    layer("interp", "Interp", "swish", "", "interp_param { zoom_factor: 2 pad_end: -1 }"),
    layer("resample", "Resample", "interp", "", "resample_param { height: 9 width: 11 }"),
    layer("turned", "Reverse", "resample", "", "reverse_param { axis: 2 }"),
    layer(
        "chosen", "Gather", "turned", "", "gather_param { axis: 1 indices: 4 indices: 0 shape: 2 }"
    ),
    layer("local", "Local", "chosen", "", "local_param { num_output: 2 kernel_size: 3 }"),
    layer("warped", "FlowWarp", "local local"),
    layer(
        "fit",
        "Correlation",
        "warped local",
        "",
        "correlation_param { kernel_size: 1 max_displacement: 2 pad: 2 }",
    ),
    layer("group", "GroupNorm", "fit", "", "group_norm_param { group_num: 5 }"),
    layer("norm", "Normalize", "group", "norm norms", "normalize_param { }"),
    layer("pyramid", "SPP", "norm", "", "spp_param { pyramid_height: 2 }"),
    layer(
        "volume",
        "Reshape",
        "norm",
        "",
        "reshape_param { shape { dim: 0 dim: 5 dim: 5 dim: 0 dim: -1 } }",
    ),
    layer("pool3", "Pooling", "volume", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    data=(2, 3, 12, 14),
)


@pytest.fixture
def nets(tmp_path: Path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return [load_net(path, weights_for(path), "torch", device=name) for name in ("cuda", "cpu")]


@pytest.mark.cuda
@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
def test_devices_agree(nets, mode: str) -> None:
    x, diff = 64 * noise(2, 3, 19, 23), noise(2, 5, seed=2)
    blobs = list(nets[0].model.graph.blobs)
    gpu, cpu = ({**net.forward(x, blobs), **net.backward("fc", diff, mode)} for net in nets)
    assert all(relative_error(gpu[blob], cpu[blob]) < 1e-4 for blob in blobs)


@pytest.mark.cuda
def test_devices_agree_on_layers_of_forks(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    path = tmp_path / "net.prototxt"
    path.write_text(FORKS)
    weights = weights_for(path)
    x = 64 * noise(2, 3, 12, 14)
    found = []
    for name in ("cuda", "cpu"):
        net = load_net(path, weights, "torch", device=name)
        blobs = list(net.model.graph.blobs)
        forward = net.forward(x, blobs)
        found.append({**forward, **net.backward("pool3", np.ones_like(forward["pool3"]))})
    assert not net.opaque
    gpu, cpu = found
    assert all(relative_error(gpu[blob], cpu[blob]) < 1e-3 for blob in cpu)


@pytest.mark.cuda
def test_the_ascent_stays_on_the_device(nets) -> None:
    gpu, _ = nets
    x, diff = gpu.ops.asarray(64 * noise(2, 3, 19, 23)), gpu.ops.asarray(noise(2, 5, seed=2))
    top = gpu.evaluate(x, "fc")
    dx = gpu.input_gradient(diff)
    assert (top.device.type, dx.device.type, gpu.device) == ("cuda", "cuda", "cuda:0")
    gpu.forward(gpu.ops.numpy(x))
    expected = gpu.backward("fc", gpu.ops.numpy(diff))["data"]
    assert relative_error(gpu.ops.numpy(dx), expected) < 1e-5

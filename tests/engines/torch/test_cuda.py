"""The same net on a CUDA device and on the CPU; needs such a device."""

from __future__ import annotations

from pathlib import Path

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
def test_the_ascent_stays_on_the_device(nets) -> None:
    gpu, _ = nets
    x, diff = gpu.ops.asarray(64 * noise(2, 3, 19, 23)), gpu.ops.asarray(noise(2, 5, seed=2))
    top = gpu.evaluate(x, "fc")
    dx = gpu.input_gradient(diff)
    assert (top.device.type, dx.device.type, gpu.device) == ("cuda", "cuda", "cuda:0")
    gpu.forward(gpu.ops.numpy(x))
    expected = gpu.backward("fc", gpu.ops.numpy(diff))["data"]
    assert relative_error(gpu.ops.numpy(dx), expected) < 1e-5

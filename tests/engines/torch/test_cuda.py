"""The same net on a CUDA device and on the CPU. Without a CUDA device it is a simulated one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.device_waits import device_waits
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relative_error, relu
from helpers.torch_layers import built
from scipy.stats import kstest

import deepvis_caffe as dv
from deepvis_caffe.dataset.image_files import read_folder
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.engines.arrays import TorchOps
from deepvis_caffe.engines.torch.graphs import EAGER
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import write_image
from deepvis_caffe.model.graph import Value
from deepvis_caffe.optimizer import objectives as o
from deepvis_caffe.optimizer.parameterizations import maco
from deepvis_caffe.optimizer.transforms import jitter, rotation

pytestmark = [pytest.mark.cuda, pytest.mark.usefixtures("cuda")]

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


# One after the other, layers that read what depends only on shapes: areas, positions, matrices.
GEOMETRY = net_text(
    conv("conv1", "data", 6, 3, "pad: 1"),
    layer("ave", "Pooling", "conv1", "", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    layer(
        "spread", "Unpooling", "ave", "", "unpooling_param { unpool: AVE kernel_size: 3 stride: 2 }"
    ),
    layer("levels", "SPP", "spread", "", "spp_param { pyramid_height: 2 pool: AVE }"),
    layer("theta", "InnerProduct", "levels", "", "inner_product_param { num_output: 6 }"),
    layer("turned", "SpatialTransformer", "spread theta"),
    conv("moves", "turned", 18, 3, "pad: 1"),
    layer(
        "deformed",
        "DeformableConvolution",
        "turned moves",
        "",
        "deformable_convolution_param { num_output: 3 kernel_size: 3 pad: 1 }",
    ),
    layer(
        "masks",
        "MaskResize",
        "deformed",
        "",
        "mask_resize_param { output_height: 5 output_width: 7 }",
    ),
    layer("all", "Pooling", "masks", "", "pooling_param { pool: AVE global_pooling: true }"),
    data=(2, 3, 12, 14),
)


def on_both(tmp_path: Path, text: str) -> list[Any]:
    """A net on the device and on the CPU."""
    return [load_text("torch", tmp_path, text, device=name) for name in ("cuda", "cpu")]


@pytest.fixture
def nets(tmp_path: Path) -> list[Any]:
    return on_both(tmp_path, NET)


# What an ascent runs through without a kink that rounding could push it over.
SMOOTH = net_text(
    conv("conv1", "data", 16, 3, "pad: 1"),
    layer("tanh1", "TanH", "conv1"),
    layer("pool1", "Pooling", "tanh1", "", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"),
    conv("conv2", "pool1", 24, 3),
    layer("sigmoid2", "Sigmoid", "conv2"),
    layer("fc", "InnerProduct", "sigmoid2", "", "inner_product_param { num_output: 10 }"),
    data=(1, 3, 21, 25),
)


@pytest.fixture
def smooth(tmp_path: Path) -> list[Any]:
    return on_both(tmp_path, SMOOTH)


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
def test_devices_agree(nets, mode: str) -> None:
    x, diff = 64 * noise(2, 3, 19, 23), noise(2, 5, seed=2)
    blobs = list(nets[0].model.graph.blobs)
    gpu, cpu = ({**net.forward(x, blobs), **net.backward("fc", diff, mode)} for net in nets)
    assert all(relative_error(gpu[blob], cpu[blob]) < 1e-4 for blob in blobs)


def test_devices_agree_on_layers_of_forks(tmp_path: Path) -> None:
    x = 64 * noise(2, 3, 12, 14)
    found = []
    for net in on_both(tmp_path, FORKS):
        blobs = list(net.model.graph.blobs)
        forward = net.forward(x, blobs)
        found.append({**forward, **net.backward("pool3", np.ones_like(forward["pool3"]))})
    assert not net.opaque
    gpu, cpu = found
    assert all(relative_error(gpu[blob], cpu[blob]) < 1e-3 for blob in cpu)


def test_the_ascent_stays_on_the_device(nets) -> None:
    gpu, _ = nets
    x, diff = gpu.ops.asarray(64 * noise(2, 3, 19, 23)), gpu.ops.asarray(noise(2, 5, seed=2))
    top = gpu.evaluate(x, "fc")
    dx = gpu.input_gradient(diff)
    assert {str(top.device), str(dx.device)} == {gpu.device}
    assert gpu.device == "cuda:0"
    gpu.forward(gpu.ops.numpy(x))
    expected = gpu.backward("fc", gpu.ops.numpy(diff))["data"]
    assert relative_error(gpu.ops.numpy(dx), expected) < 1e-5


def test_devices_agree_on_several_layers(nets: list[Any]) -> None:
    x, found = 64 * noise(2, 3, 19, 23), []
    for net in nets:
        values = net.evaluate_layers(net.ops.asarray(x), ["conv2", "both", "fc"])
        dx = net.layers_gradient({name: 2 * value for name, value in values.items()})
        found.append({**{k: net.ops.numpy(v) for k, v in values.items()}, "x": net.ops.numpy(dx)})
    assert all(relative_error(found[0][key], found[1][key]) < 1e-4 for key in found[1])


def test_tf32_is_off_whatever_the_host_has_set(smooth: list[Any]) -> None:
    # of 10 bits, products are wrong by 1e-3
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        x, dy = 64 * noise(4, 3, 21, 25), noise(4, 10, seed=2)
        found = [{**net.forward(x), **net.backward("fc", dy)} for net in smooth]
        assert all(switch.allow_tf32 for switch in switches)
    finally:
        for switch, was in zip(switches, before, strict=True):
            switch.allow_tf32 = was
    assert all(relative_error(found[0][blob], found[1][blob]) < 2e-5 for blob in found[1])


ASCENTS: dict[str, dict[str, Any]] = {
    "preset 3": {"preset": 3},
    "norms": {"preset": 2, "rate": "auto"},
    "contributions": {"preset": 4},
    "best": {"preset": "best"},
    "views": {"preset": 3, "transforms": [jitter(0.1), rotation(10)]},
    "maco": {"preset": 3, "parameterization": maco()},
    "minimized": {"preset": 3, "sign": -1},
}


@pytest.mark.parametrize("name", ASCENTS)
def test_devices_agree_on_ascents(smooth: list[Any], name: str) -> None:
    gpu, cpu = (
        dv.optimize(net, "fc", [1, 4], seeds=[2], iterations=20, **ASCENTS[name]) for net in smooth
    )
    for ours, expected in zip(gpu, cpu, strict=True):
        # Rounding may put a pixel on the other side of a percentile: then few of them differ.
        scale = np.abs(expected.activations).max()
        np.testing.assert_allclose(ours.activations, expected.activations, atol=5e-3 * scale)
        far = np.abs(ours.image - expected.image).max(axis=0) > 0.01 * np.abs(expected.image).max()
        assert far.mean() < 0.02
        assert ours.stop == expected.stop
        assert (ours.first_top is None) == (expected.first_top is None)


def test_devices_agree_on_an_objective(smooth: list[Any]) -> None:
    goal = o.unit("fc", 3) + 0.5 * o.channel("conv2", 4) - 0.1 * o.unit("conv1", 2, (3, 4))
    gpu, cpu = (dv.optimize(net, goal, seeds=[3], preset=3, iterations=20)[0] for net in smooth)
    np.testing.assert_allclose(gpu.activations, cpu.activations, rtol=1e-3)
    assert relative_error(gpu.image, cpu.image) < 1e-2


@pytest.mark.parametrize(
    "method", ["gradient", "grad_cam", "integrated_gradients", "occlusion", "smooth_grad"]
)
def test_devices_agree_on_attribution(smooth: list[Any], method: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (21, 25, 3)).astype(np.uint8)
    gpu, cpu = (dv.attribute(net, image, "fc", 4, method=method).map for net in smooth)
    assert relative_error(gpu, cpu) < 1e-3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(7):
        picture = np.random.default_rng(i).integers(0, 256, (21, 25, 3)).astype(np.uint8)
        write_image(folder / f"{i}.png", picture)
    return folder


def test_devices_agree_on_a_scan(smooth: list[Any], folder: Path) -> None:
    params = ScanParams(layers=("conv2", "pool1", "fc"), count=3, correlation=True)
    gpu, cpu = (scan_images(net, read_folder(folder), params, batch_size=3) for net in smooth)
    for name in params.layers:
        ours, expected = gpu.layers[name], cpu.layers[name]
        for kind in ("mean", "squares", "products"):
            found, wanted = (getattr(one.moments, kind) for one in (ours, expected))
            assert relative_error(found, wanted) < 1e-4
        for kind in ("image", "position"):
            found, wanted = (getattr(one.top, kind) for one in (ours, expected))
            np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(ours.zeros, expected.zeros)


def test_a_scan_waits_once_for_each_batch(smooth: list[Any], folder: Path) -> None:
    params = ScanParams(layers=("conv1", "conv2", "fc"), count=3)
    scan_images(smooth[0], read_folder(folder), params, range(3), batch_size=3)
    with device_waits() as caught:
        scan_images(smooth[0], read_folder(folder), params, batch_size=3)
    assert len(caught) == 3, caught


def test_normal_numbers_of_an_image_are_drawn_on_the_device_and_the_same_in_any_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ops, shape = TorchOps("cuda"), (3, 50, 40)
    draw, alone, again = (
        ops.normals(seeds) for seeds in ([(4, 0), (4, 1), (4, 2**40)], [(4, 1)], [(4, 1)])
    )
    with monkeypatch.context() as patch, device_waits() as caught:
        patch.setattr(TorchOps, "asarray", None)
        first, second = draw(shape), draw(shape)
        found = alone(shape), alone(shape)
    assert not caught
    numbers = np.stack([ops.numpy(first), ops.numpy(second)], axis=1)
    np.testing.assert_array_equal(ops.numpy(found[0])[0], numbers[1, 0])
    np.testing.assert_array_equal(ops.numpy(found[1])[0], numbers[1, 1])
    np.testing.assert_array_equal(ops.numpy(again(shape))[0], numbers[1, 0])
    rows = numbers.reshape(6, -1)
    assert all(kstest(row, "norm").pvalue > 1e-4 for row in rows)
    np.testing.assert_allclose(np.corrcoef(rows), np.eye(6), atol=0.06)  # five standard errors


def test_normal_numbers_are_float32_whatever_torchs_default_is() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        drawn = TorchOps("cuda").normals([(4, 0)])((2, 3))
    finally:
        torch.set_default_dtype(torch.float32)
    assert drawn.dtype == torch.float32


@pytest.mark.parametrize("q", [0.0, 20.0, 50.0, 99.9, np.array([5.0, 50.0, 100.0])])
def test_percentiles_on_the_device_are_numpys(q: Any) -> None:
    ops, rows = TorchOps("cuda"), noise(3, 5000)
    expected = [np.percentile(row, p) for row, p in zip(rows, np.broadcast_to(q, 3), strict=True)]
    got = ops.numpy(ops.percentile(ops.asarray(rows), q))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_graphs_give_what_passes_without_them_give(smooth: list[Any]) -> None:
    gpu, _ = smooth
    plain = dv.optimize(gpu, "fc", [1, 4], seeds=[2], preset=3, iterations=40)
    gpu.cuda_graphs = True
    graphed = dv.optimize(gpu, "fc", [1, 4], seeds=[2], preset=3, iterations=40)
    assert gpu._graphs._kept  # not as a way around them
    for one, other in zip(plain, graphed, strict=True):
        np.testing.assert_allclose(other.activations, one.activations, rtol=1e-3)
    # and another shape, layer and mode between its passes
    x, dy = gpu.ops.asarray(64 * noise(2, 3, 21, 25)), gpu.ops.asarray(noise(2, 24, 8, 10))
    found = []
    for _ in range(6):
        gpu.evaluate(x, "conv2")
        found.append(gpu.ops.numpy(gpu.input_gradient(dy)))
    gpu.cuda_graphs = False
    gpu.evaluate(x, "conv2")
    expected = gpu.ops.numpy(gpu.input_gradient(dy))
    assert all(relative_error(one, expected) < 1e-5 for one in found)


PASSES = {"caffe": (NET, "fc"), "forks": (FORKS, "pool3"), "geometry": (GEOMETRY, "all")}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_like_the_last_one_waits_for_nothing(tmp_path: Path, name: str) -> None:
    text, wanted = PASSES[name]
    gpu, cpu = on_both(tmp_path, text)
    values_and_gradient(gpu, wanted)
    with device_waits() as caught:
        found = values_and_gradient(gpu, wanted)
    assert not caught
    for one, other in zip(found, values_and_gradient(cpu, wanted), strict=True):
        assert relative_error(gpu.ops.numpy(one), cpu.ops.numpy(other)) < 1e-3


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_that_waits_for_nothing_can_be_captured(tmp_path: Path, name: str) -> None:
    text, wanted = PASSES[name]
    gpu, cpu = on_both(tmp_path, text)
    gpu.cuda_graphs = True
    for seed in range(EAGER + 3):
        found, expected = (
            [net.ops.numpy(one) for one in values_and_gradient(net, wanted, seed)]
            for net in (gpu, cpu)
        )
        assert all(relative_error(*pair) < 1e-3 for pair in zip(found, expected, strict=True))
    assert gpu._graphs._kept


def values_and_gradient(net: Any, wanted: str, seed: int = 0) -> list[Any]:
    x = noise(*net.shapes[Value("data")], seed=seed)
    value = net.evaluate(net.ops.asarray(x), wanted)
    return [value, net.input_gradient(value.clone())]


def test_a_pooling_mask_is_checked_on_the_host_once_and_on_the_device_later() -> None:
    layer = built("MaxUnPool", "max_unpool_param { dst_h: 4 dst_w: 4 }", bottoms=2)
    parts = torch.ones(4), torch.tensor([0.0, 3, 12, 15]), torch.tensor([0.0, 3, 12, 16])
    x, good, bad = (one.reshape(1, 1, 2, 2).to("cuda") for one in parts)
    with pytest.raises(EngineError, match="position 16 of a map of 16"):
        layer(x, bad)
    assert layer(x, good).cpu().nonzero()[:, 2:].tolist() == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert layer(x, bad).cpu().isnan().all()

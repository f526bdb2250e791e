"""`net.module`: the same net as a plain `torch.nn.Module`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import (
    conv,
    layer,
    load_text,
    net_text,
    noise,
    relative_error,
    relu,
    weights_for,
)

from deepvis_caffe.engines.load import load_net
from deepvis_caffe.resources import resource

TEXT = net_text(
    conv("conv1/3x3.a", "data", 4, 3, "pad: 1"),
    relu("relu1", "conv1/3x3.a"),
    layer("norm", "LRN", "conv1/3x3.a", "norm", "lrn_param { local_size: 3 alpha: 2 }"),
    layer("pool", "Pooling", "norm", "pool", "pooling_param { kernel_size: 3 stride: 2 }"),
    layer("forward", "BatchNorm", "pool", "bn"),
    layer("scale", "Scale", "bn", "bn", "scale_param { bias_term: true }"),
    layer("ip", "InnerProduct", "bn", "ip", "inner_product_param { num_output: 5 }"),
    layer("prob", "Softmax", "ip"),
    data=(1, 2, 7, 8),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "squeezenet_v1.1", "bvlc_googlenet", "resnet50"])
def test_a_whole_net(name: str) -> None:
    """Its outputs are those of `Net.forward`, its gradient by autograd that of `Net.backward`."""
    prototxt = resource("prototxt", f"{name}.prototxt")
    net = load_net(prototxt, weights_for(prototxt), "torch", device="cpu")
    x = 64 * noise(1, *next(iter(net.inputs.values()))[1:])
    leaf = torch.tensor(x, requires_grad=True)
    (output,) = net.model.graph.outputs
    got = net.module(leaf)
    expected = net.forward(x)[output]
    assert relative_error(got.detach().numpy(), expected) < 1e-5
    if name in ("lenet", "squeezenet_v1.1"):  # of more ReLUs some lie so near 0 that rounding tells
        diff = noise(*expected.shape, seed=2)
        (dx,) = torch.autograd.grad(got, leaf, torch.tensor(diff))
        assert relative_error(dx.numpy(), net.backward(output, diff)["data"]) < 1e-4


def test_the_gradient_of_every_layer(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, TEXT)
    x, diff = noise(3, 2, 7, 8), noise(3, 5, seed=2)
    leaf = torch.tensor(x, requires_grad=True)
    (dx,) = torch.autograd.grad(net.module(leaf), leaf, torch.tensor(diff))
    net.forward(x)
    np.testing.assert_allclose(dx, net.backward("prob", diff)["data"], atol=1e-5)


def test_a_hook_sees_a_layers_value(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, TEXT)
    seen = []
    handle = net.module.pool.register_forward_hook(lambda module, bottoms, top: seen.append(top))
    x = noise(3, 2, 7, 8)
    net.module(torch.tensor(x))
    (top,) = seen
    np.testing.assert_allclose(top, net.forward(x, ["pool"])["pool"], rtol=1e-5)
    assert len(seen) == 1  # the net's own passes call no hooks
    handle.remove()


def test_layers_have_legal_names(tmp_path: Path) -> None:
    module = load_text("torch", tmp_path, TEXT).module
    assert module.layer("conv1/3x3.a") is module.conv1_3x3_a
    assert module.layer("forward") is module.forward_  # the module's own method keeps its name


def test_state_dict_holds_every_weight(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, TEXT)
    state = {name: tensor.numpy() for name, tensor in net.module.state_dict().items()}
    names = {
        "conv1_3x3_a": ("weight", "bias"),
        "forward_": ("mean", "variance", "count"),
        "scale": ("scale", "bias"),
        "ip": ("weight", "bias"),
    }
    blobs = [blob for layer in net.model.graph for blob in net.model.weights.get(layer.name, ())]
    expected = [f"{layer}.{name}" for layer, some in names.items() for name in some]
    assert list(state) == expected
    for name, blob in zip(expected, blobs, strict=True):
        np.testing.assert_array_equal(state[name], blob)


def test_weights_are_frozen_and_can_be_changed(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, TEXT)
    other = load_text("torch", tmp_path, TEXT, seed=1)
    assert not any(p.requires_grad for p in net.module.parameters())
    x = noise(3, 2, 7, 8)
    net.forward(x)  # packs the weights
    net.module.load_state_dict(other.module.state_dict())
    np.testing.assert_allclose(net.forward(x)["prob"], other.forward(x)["prob"], rtol=1e-5)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    text = net_text(
        layer("sum", "Eltwise", "data extra"),
        layer("product", "Eltwise", "data extra", "", "eltwise_param { operation: PROD }"),
        data=(1, 2),
        extra=(1, 2),
    )
    module = load_text("torch", tmp_path, text).module
    total, product = module(torch.tensor([[2.0, 3.0]]), torch.tensor([[4.0, 5.0]]))
    np.testing.assert_array_equal(total, [[6, 8]])
    np.testing.assert_array_equal(product, [[8, 15]])


def test_layers_that_share_weights_share_parameters(tmp_path: Path) -> None:
    first, second = (
        layer(name, "Convolution", bottom, name,
              'param { name: "w" } param { name: "b" } '
              "convolution_param { num_output: 2 kernel_size: 1 }")
        for name, bottom in (("one", "data"), ("two", "one"))
    )  # fmt: skip
    module = load_text("torch", tmp_path, net_text(first, second, data=(1, 2, 3, 3))).module
    assert module.one.weight is module.two.weight
    assert {"one.weight", "two.weight"} <= set(module.state_dict())

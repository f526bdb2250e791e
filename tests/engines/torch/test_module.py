"""`net.module`: the same net as a plain `torch.nn.Module`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from torch import nn

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


@pytest.mark.parametrize("mode", ["guided", "deconv"])
def test_tools_that_hook_into_every_relu_find_them(tmp_path: Path, mode: str) -> None:
    """As captum does for guided backpropagation and deconvnets (Springenberg et al. 2015)."""
    text = net_text(
        conv("conv1", "data", 4, 3),
        relu("relu1", "conv1"),
        conv("conv2", "conv1", 4, 3),
        relu("relu2", "conv2"),
        layer("ip", "InnerProduct", "conv2", "ip", "inner_product_param { num_output: 5 }"),
        data=(1, 2, 7, 8),
    )
    net = load_text("torch", tmp_path, text)
    relus = [module for module in net.module.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 2
    for module in relus:
        module.register_full_backward_hook(
            lambda module, dx, dy: ((dy if mode == "deconv" else dx)[0].clamp(min=0),)
        )
    leaf, diff = torch.tensor(noise(3, 2, 7, 8), requires_grad=True), noise(3, 5, seed=2)
    (dx,) = torch.autograd.grad(net.module(leaf), leaf, torch.tensor(diff))
    net.forward(leaf.detach().numpy())
    expected = net.backward("ip", diff, mode)["data"]
    np.testing.assert_allclose(dx, expected, atol=1e-5)
    gradient = net.backward("ip", diff)["data"]
    assert relative_error(gradient, expected) > 0.1


@pytest.mark.parametrize(
    ("kind", "params", "module"),
    [
        ("ReLU", "", nn.ReLU()),
        ("ReLU", "relu_param { negative_slope: 0.2 }", nn.LeakyReLU(0.2)),
        ("ELU", "elu_param { alpha: 2 }", nn.ELU(2)),
        ("Sigmoid", "", nn.Sigmoid()),
        ("TanH", "", nn.Tanh()),
        ("BNLL", "", nn.Softplus()),
        ("Softmax", "softmax_param { axis: 3 }", nn.Softmax(3)),
        (
            "Pooling",
            "pooling_param { kernel_size: 3 stride: 2 }",
            nn.MaxPool2d(3, 2, ceil_mode=True),
        ),
    ],
    ids=lambda one: one if isinstance(one, str) and "_" not in one else "",
)
def test_what_torch_has_a_module_for_is_that_module(
    tmp_path: Path, kind: str, params: str, module: nn.Module
) -> None:
    """So DeepLift, for example, knows it; and it is hooked by `net.module` alone."""
    net = load_text("torch", tmp_path, net_text(layer("y", kind, "x", "", params), x=(1, 2, 6, 8)))
    (inside,) = net.module.y.children()
    assert type(inside) is type(module)
    seen: list[torch.Tensor] = []
    inside.register_forward_hook(lambda module, x, y: seen.append(y))
    x = noise(1, 2, 6, 8)
    net.forward(x)
    net.reduce(x, ["y"], lambda name, value: None)
    net.evaluate(torch.tensor(x), "y")
    assert not seen
    net.module(torch.tensor(x))
    np.testing.assert_allclose(seen[0], module(torch.tensor(x)), rtol=1e-6)


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


def test_a_hook_on_any_layer_with_one_top_sees_a_tensor(tmp_path: Path) -> None:
    text = net_text(
        conv("conv", "data", 4, 3),
        layer(
            "up", "Deconvolution", "conv", "", "convolution_param { num_output: 2 kernel_size: 2 }"
        ),
        layer("slice", "Slice", "up", "part"),
        layer("split", "Split", "part", "same"),
        layer("two", "Slice", "same", "left right"),
        data=(1, 2, 7, 8),
    )
    net = load_text("torch", tmp_path, text)
    seen: dict[str, Any] = {}
    for module in net.module.layers:
        name = module.layer.name
        module.register_forward_hook(lambda module, x, y, name=name: seen.update({name: y}))
    x = noise(3, 2, 7, 8)
    net.module(torch.tensor(x))
    left, right = seen.pop("two")
    assert set(seen) == {"conv", "up", "slice", "split"}
    expected = net.forward(x, [*seen, "left", "right"])
    for name, got in {**seen, "left": left, "right": right}.items():
        np.testing.assert_allclose(got, expected[name], atol=1e-5)

"""Weights that change while a net is in use: nothing derived from the old ones is used.

The oracle is `net.module` under autograd, which reads the weights again in every call.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu
from torch import nn
from torch.nn.utils import prune

from deepvis_caffe.engines.base import Net

# Each way to a convolution's gradient, and products of both orders.
NET = net_text(
    conv("phases", "data", 9, 3, "stride: 2"),
    relu("relu_phases", "phases"),
    conv("transposed", "phases", 4, 3, "stride: 2"),
    relu("relu_transposed", "transposed"),
    conv("turned", "transposed", 5, 3, "pad: 1"),
    layer("sigmoid", "Sigmoid", "turned"),
    layer("first", "InnerProduct", "sigmoid", "", "inner_product_param { num_output: 7 }"),
    layer(
        "second",
        "InnerProduct",
        "first",
        "",
        "inner_product_param { num_output: 3 transpose: true }",
    ),
    data=(1, 2, 15, 19),
)
NAMES = ("phases", "transposed", "turned", "sigmoid", "first", "second")


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return load_text("torch", tmp_path, NET)


def in_place(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)


def loaded(module: nn.Module, assign: bool = False) -> None:
    module.load_state_dict(
        {name: 1.5 * value for name, value in module.state_dict().items()}, assign=assign
    )


def assigned(module: nn.Module) -> None:
    loaded(module, assign=True)


def other_memory(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = 1.5 * parameter.data


def other_parameters(module: nn.Module) -> None:
    for one in module.children():
        for name, parameter in list(one.named_parameters()):
            setattr(one, name, nn.Parameter(1.5 * parameter, requires_grad=False))


def pruned(module: nn.Module) -> None:
    for one in module.children():
        if "weight" in dict(one.named_parameters()):
            prune.custom_from_mask(one, "weight", one.weight.abs() > one.weight.abs().median() / 4)


def assert_close(net: Net, found: Any, wanted: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Compare two of the engine's own arrays."""
    np.testing.assert_allclose(*map(net.ops.numpy, (found, wanted)), rtol=rtol, atol=atol)


def expected(net: Net, x: torch.Tensor, name: str, dy: Callable[[Any], torch.Tensor]) -> Any:
    """The value below a trailing ReLU and the diff of x, by autograd."""
    module: Any = net.module
    found = {}
    hook = module.layer(name).register_forward_hook(
        lambda layer, inputs, top: found.update(top=top)
    )
    leaf = x.clone().requires_grad_()
    module(leaf)
    hook.remove()
    top = found["top"]
    return top.detach(), torch.autograd.grad(top, leaf, dy(top))[0]


@pytest.mark.parametrize(
    "change", [in_place, loaded, assigned, other_memory, other_parameters, pruned]
)
@pytest.mark.parametrize("channels", [None, (2, 0)])
@pytest.mark.parametrize("images", [1, 3])
def test_every_pass_goes_by_the_weights_of_now(
    net: Net, change: Callable[[nn.Module], None], channels: tuple[int, ...] | None, images: int
) -> None:
    x = net.ops.asarray(noise(images, 2, 15, 19))
    for changes in range(3):
        if changes:
            change(net.module)
        for name in NAMES:
            value = net.evaluate(x, name, channels)
            some = net.ops.asarray(noise(*value.shape, seed=4))
            wanted = slice(None) if channels is None else list(channels)

            def whole(top: torch.Tensor, some=some, wanted=wanted) -> torch.Tensor:
                dy = torch.zeros_like(top)
                dy[:, wanted] = some
                return dy

            top, dx = expected(net, x, name, whole)
            assert_close(net, value, top[:, wanted], atol=1e-5)
            got = net.input_gradient(some)
            assert_close(net, got, dx, atol=1e-5 * float(dx.abs().max()))


def test_a_bias_alone(net: Net) -> None:
    x = net.ops.asarray(noise(2, 2, 15, 19))
    for name in ("turned", "first"):
        before = net.evaluate(x, name, (1,)).clone()
        with torch.no_grad():
            net.module.get_submodule(name).bias += 7
        assert_close(net, net.evaluate(x, name, (1,)), before + 7, rtol=1e-7, atol=1e-5)


def test_a_copy_of_the_module_has_nothing_of_what_was_made_of_the_weights(net: Net) -> None:
    x = net.ops.asarray(noise(2, 2, 15, 19))
    before = net.evaluate(x, "second").clone()
    net.input_gradient(torch.ones_like(before))
    copies = copy.deepcopy(net.module), pickle.loads(pickle.dumps(net.module))
    in_place(net.module)
    for copied in copies:
        assert_close(net, copied(x), before)
        y = x
        for name in ("phases", "transposed", "turned", "first"):
            one = copied.layer(name)
            leaf = y.detach().requires_grad_()
            with torch.no_grad():
                (top,), saved = one.fwd(y)
                (dx,) = one.bwd(saved, [torch.ones_like(top)], "gradient")
            assert_close(net, top, one(leaf))
            expected = torch.autograd.grad(one(leaf).sum(), leaf)[0]
            assert_close(net, dx, expected)
            y = top

"""Fused layers: the same values and diffs as one layer after the other.

The oracle is `net.module` in float64 under autograd, which has no fusion; for backward modes it is
the net's own backward pass, layer by layer.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relative_error, relu

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch.fusion import FusedConvolution, Runnable
from deepvis_caffe.engines.torch.plan import Channels, Joined, make_plan
from deepvis_caffe.model.graph import Value

SCALE = "scale_param { bias_term: true }"


def norm(name: str, blob: str, more: str = "") -> str:
    """A BatchNorm in place, and a Scale after it."""
    return "\n".join(
        (
            layer(f"{name}_bn", "BatchNorm", blob, blob, f"batch_norm_param {{ {more} }}"),
            layer(f"{name}_scale", "Scale", blob, blob, SCALE),
        )
    )


def total(name: str, bottoms: str, more: str = "") -> str:
    return layer(name, "Eltwise", bottoms, name, f"eltwise_param {{ {more} }}")


# Each net, the layer that is read, and into how many steps its layers join.
NETS = {
    "convolution, norm, relu": (
        [conv("a", "data", 6, 3, "bias_term: false"), norm("a", "a"), relu("r", "a")],
        ("r", 1),
    ),
    "some channels of a rectified convolution": (
        [conv("a", "data", 6, 3), relu("ra", "a"), conv("b", "a", 4), layer("r", "ReLU", "b")],
        ("r", 2),
    ),
    "a bias layer": ([conv("a", "data", 6, 3), layer("b", "Bias", "a"), relu("r", "b")], ("r", 1)),
    "residual, projected": (
        [
            *(conv("a", "data", 6, 3, "pad: 1"), norm("a", "a")),
            *(conv("b", "data", 6), norm("b", "b")),
            *(total("sum", "a b"), relu("r", "sum"), conv("c", "sum", 4, 3)),
        ],
        ("c", 3),
    ),
    "residual, of what is older": (
        [
            *(conv("a", "data", 6, 3), relu("ra", "a"), conv("b", "a", 6, 3, "pad: 1")),
            *(norm("b", "b"), total("sum", "b a", "coeff: 1 coeff: 1"), relu("r", "sum")),
        ],
        ("r", 2),
    ),
    "norm first, depthwise, strided": (
        [
            *(norm("n", "data"), relu("rn", "data")),
            *(conv("a", "data", 6, 3, "group: 3 stride: 2"), norm("a", "a"), conv("b", "a", 4)),
        ],
        ("b", 3),
    ),
    "after a pooling": (
        [
            layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 2 stride: 2 }"),
            *(norm("n", "p"), conv("a", "p", 4, 3)),
        ],
        ("a", 3),
    ),
    "after an LRN": (
        [
            *(conv("a", "data", 6, 3), relu("r", "a")),
            layer("l", "LRN", "a", "l", "lrn_param { local_size: 3 alpha: 9 }"),
            *(
                conv("b", "l", 4, 3),
                layer("p", "Pooling", "b", "p", "pooling_param { kernel_size: 2 }"),
            ),
        ],
        ("p", 4),
    ),
    "of vectors": (
        [
            layer("f", "InnerProduct", "data", "f", "inner_product_param { num_output: 5 }"),
            *(norm("n", "f"), relu("r", "f")),
        ],
        ("r", 2),
    ),
    # What must stay apart.
    "two readers": (
        [conv("a", "data", 6, 3), layer("r", "ReLU", "a"), conv("b", "a", 6), total("s", "r b")],
        ("s", 3),
    ),
    "a slope": (
        [conv("a", "data", 6), layer("r", "ReLU", "a", "", "relu_param { negative_slope: 0.1 }")],
        ("r", 2),
    ),
    "other sums": (
        [
            *(conv("a", "data", 6), conv("b", "data", 6), conv("c", "data", 6)),
            *(total("d", "a b", "coeff: 1 coeff: -2"), total("m", "d c", "operation: MAX")),
            total("s", "m m"),
        ],
        ("s", 6),
    ),
    "a norm after a relu, a sum of a sum": (
        [
            *(conv("a", "data", 6), relu("r", "a"), norm("n", "a"), conv("b", "data", 6)),
            *(total("s", "a b"), conv("c", "data", 6), total("t", "s c"), norm("u", "t")),
        ],
        ("u_scale", 5),
    ),
    "by the batch's own statistics": (
        [conv("a", "data", 6, 3), norm("a", "a", "use_global_stats: false"), relu("r", "a")],
        ("r", 3),
    ),
    "along another axis": (
        [conv("a", "data", 6), layer("s", "Scale", "a", "", "scale_param { axis: 2 num_axes: 1 }")],
        ("s", 2),
    ),
}


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Net, str, int]:
    layers, (name, steps) = NETS[request.param]
    net = load_text("torch", tmp_path, net_text(*layers, data=(2, 3, 9, 8)))
    return net, name, steps


def expected(net: Net, x: torch.Tensor, name: str, dy: torch.Tensor) -> tuple[Any, Any]:
    """A layer's values and the diff of x, in float64."""
    module: Any = copy.deepcopy(net.module).double()
    found: dict[str, torch.Tensor] = {}
    hook = module.layer(name).register_forward_hook(lambda one, inputs, top: found.update(top=top))
    leaf = x.double().requires_grad_()
    module(leaf)
    hook.remove()
    (dx,) = torch.autograd.grad(found["top"], leaf, dy.double())
    return net.ops.numpy(found["top"]), net.ops.numpy(dx)


def check(net: Net, name: str) -> None:
    x = net.ops.asarray(noise(2, 3, 9, 8))
    top = net.evaluate(x, name)
    dy = net.ops.asarray(noise(*top.shape, seed=5))
    values, dx = expected(net, x, name, dy)
    assert relative_error(net.ops.numpy(top), values) < 1e-5
    assert relative_error(net.ops.numpy(net.input_gradient(dy)), dx) < 1e-5
    seen: dict[str, Any] = {}
    net.reduce(net.ops.numpy(x), [name], lambda blob, value: seen.update({blob: value.clone()}))
    assert relative_error(net.ops.numpy(*seen.values()), values) < 1e-5


def test_values_and_gradients(case: tuple[Net, str, int]) -> None:
    net, name, _ = case
    check(net, name)


def test_which_layers_are_one(case: tuple[Net, str, int]) -> None:
    net, name, steps = case
    assert (
        len(make_plan(net.module, [net.model.graph.activation(name)], {Value("data")}).steps)
        == steps
    )


def test_plans_share_what_runs_as_one_and_not_what_has_some_channels(
    case: tuple[Net, str, int],
) -> None:
    net, name, _ = case
    module, have, joined = net.module, {Value("data")}, Joined()
    top = net.model.graph.activation(name)

    def runs(channels: Channels = None) -> list[Runnable]:
        plan = make_plan(module, [top], have, channels, joined=joined)
        return [step.run for step in plan.steps if len(step.layers) > 1]

    runs((1,))
    first = runs()
    again = runs()
    assert list(map(id, again)) == list(map(id, first))
    for layers, run in joined.items():  # of the module's own layers, with all their channels
        own = (run.convolution, *run.affine) if isinstance(run, FusedConvolution) else run.affine
        assert list(map(id, own)) == list(map(id, layers[: len(own)]))
    x = net.ops.asarray(noise(2, 3, 9, 8))
    every, one = (net.ops.numpy(net.evaluate(x, name, some)) for some in (None, (1,)))
    np.testing.assert_allclose(one, every[:, 1:2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [1, -1])
def test_every_layer_after_the_others(case: tuple[Net, str, int], order: int) -> None:
    net, _, _ = case
    x, module = noise(2, 3, 9, 8), copy.deepcopy(net.module).double()
    found: dict[str, np.ndarray] = {}
    for one in list(net.model.graph)[1:]:
        module.layer(one.name).register_forward_hook(
            lambda _, inputs, top, name=one.name: found.update({name: net.ops.numpy(top)})
        )
    module(net.ops.asarray(x).double())
    for name in list(found)[::order]:
        top = net.model.graph.layer(name).tops[0]
        if top == net.model.graph.blobs[top.blob]:  # nothing works on it in place
            (values,) = net.reduce(x, [top.blob], lambda _, value: net.ops.numpy(value)).values()
            assert relative_error(values, found[name]) < 1e-5


@pytest.mark.parametrize("mode", ["deconv", "guided"])
def test_backward_modes(case: tuple[Net, str, int], mode: str) -> None:
    net, name, _ = case
    x = noise(2, 3, 9, 8)
    top = net.evaluate(net.ops.asarray(x), name)
    dy = noise(*top.shape, seed=5)
    got = net.ops.numpy(net.input_gradient(net.ops.asarray(dy), mode))
    net.forward(x)
    assert relative_error(got, net.backward(name, dy, mode)["data"]) < 1e-5


def test_weights_that_are_changed(case: tuple[Net, str, int]) -> None:
    net, name, _ = case
    check(net, name)
    module: Any = net.module
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.mul_(1.5)
        check(net, name)


def test_without_scaled_filters_the_values_are_those_layer_by_layer(
    case: tuple[Net, str, int],
) -> None:
    net, name, _ = case
    x = noise(2, 3, 9, 8)
    (once,) = net.forward(x, [name]).values()
    np.testing.assert_array_equal(once, net.read([name])[name])  # recorded, each layer by itself

"""Plans of the ascent: what is fused and what is let go, and that neither changes a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.engines.torch.kernels import ConvolutionOp
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.engines.torch.plan import make_plan
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Value

# data -> a -> relu -> b -> leaky (slope) -> out
#                 \--> c ---------------------> out
NET = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 2),
    layer("leaky", "ReLU", "b", "b", "relu_param { negative_slope: 0.5 }"),
    conv("c", "a", 2),
    layer("relu_c", "ReLU", "c", "relu_c"),
    layer("out", "Eltwise", "b c relu_c"),
    data=(1, 2, 4, 5),
)

# a -> relu -> pool (overlapping windows) -> b (many channels) -> relu -> pool_b (padded) -> sum
#                                             one of them has a diff where one unit is climbed
POOLED = net_text(
    conv("a", "data", 6, 3, "pad: 1"),
    relu("relu_a", "a"),
    layer("pool", "Pooling", "a", "pool", "pooling_param { kernel_size: 3 stride: 2 }"),
    conv("b", "pool", 40, 2),
    relu("relu_b", "b"),
    layer("pool_b", "Pooling", "b", "pool_b", "pooling_param { kernel_size: 2 stride: 1 pad: 1 }"),
    data=(1, 2, 9, 10),
)


@pytest.fixture
def net(tmp_path: Path):
    return load_text("torch", tmp_path, NET)


def steps(net, name: str):
    target = net.model.graph.gradient_start(name)
    data = Value("data")
    return make_plan(net.model.graph, net._program, target, data, [data])


def test_a_convolution_that_only_its_relu_reads_is_one_step_with_it(net):
    assert [(step.layer.name, [*step.tops]) for step in steps(net, "out")] == [
        ("a", [Value("a", 1)]),  # with relu_a
        ("b", [Value("b", 0)]),  # the leaky ReLU is a layer of its own
        ("leaky", [Value("b", 1)]),
        ("c", [Value("c", 0)]),  # read by out, too
        ("relu_c", [Value("relu_c", 0)]),
        ("out", [Value("out", 0)]),
    ]


def test_the_target_itself_is_not_fused(net):
    assert [step.tops for step in steps(net, "a")] == [(Value("a", 0),)]
    assert [step.tops for step in steps(net, "relu_a")] == [(Value("a", 1),)]


def test_values_are_let_go_by_their_last_reader(net):
    done = {step.layer.name: set(step.done) for step in steps(net, "out")}
    assert done == {
        "a": {Value("data")},
        "b": set(),
        "leaky": {Value("b", 0)},
        "c": {Value("a", 1)},
        "relu_c": set(),
        "out": {Value("b", 1), Value("c", 0), Value("relu_c", 0)},
    }


def test_a_relu_goes_with_the_pooling_that_reads_it_unless_windows_reach_over_the_end(tmp_path):
    net = load_text("torch", tmp_path, POOLED)
    assert [(step.layer.name, [*step.tops]) for step in steps(net, "pool_b")] == [
        ("a", [Value("a", 0)]),
        ("relu_a", [Value("pool", 0)]),  # with pool
        ("b", [Value("b", 1)]),  # with relu_b
        ("pool_b", [Value("pool_b", 0)]),
    ]


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("units", [[3, 3, 3], [5, 0, 5], range(3)])
@pytest.mark.parametrize("name", ["pool", "b", "relu_b", "pool_b"])
def test_climbing_a_unit_equals_forward_and_backward(tmp_path, name, units, mode):
    net = load_text("torch", tmp_path, POOLED)
    x = noise(3, 2, 9, 10)
    net.forward(x, [])
    dy = np.zeros((3, *net.shapes[net.model.graph.gradient_start(name)][1:]), np.float32)
    dy[range(3), units] = noise(3, *dy.shape[2:], seed=4)
    dx = net.backward(name, dy, mode)["data"]
    net.evaluate(torch.tensor(x), name)
    np.testing.assert_allclose(net.input_gradient(torch.tensor(dy), mode), dx, atol=1e-5)


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("name", ["a", "relu_a", "b", "leaky", "relu_c", "out"])
def test_the_ascent_equals_forward_and_backward(net, name, mode):
    x = noise(3, 2, 4, 5)
    value = net.model.graph.gradient_start(name)
    net.forward(x, [])
    dy = noise(3, *net.shapes[value][1:], seed=4)
    dx = net.backward(name, dy, mode)["data"]
    top = net.evaluate(torch.tensor(x), name)
    np.testing.assert_allclose(top, net._values[value].detach(), atol=1e-6)
    np.testing.assert_allclose(net.input_gradient(torch.tensor(dy), mode), dx, atol=1e-5)


# one blob read by two sums: a diff that autograd hands to both bottoms must not be written to
SHARED = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 3),
    relu("relu_b", "b"),
    layer("sum", "Eltwise", "a b"),
    layer("joined", "Concat", "sum b"),
    conv("end", "joined", 2),
    data=(1, 2, 4, 5),
)


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("name", ["sum", "joined", "end"])
def test_diffs_that_two_values_share(tmp_path, name, mode):
    net = load_text("torch", tmp_path, SHARED)
    x = noise(3, 2, 4, 5)
    net.forward(x, [])
    dy = noise(3, *net.shapes[net.model.graph.gradient_start(name)][1:], seed=4)
    dx = net.backward(name, dy, mode)["data"]
    net.evaluate(torch.tensor(x), name)
    given = torch.tensor(dy)
    np.testing.assert_allclose(net.input_gradient(given, mode), dx, atol=1e-5)
    np.testing.assert_array_equal(given, dy)  # the caller's own


def test_a_dead_unit_below_a_pooling_has_a_gradient_of_zero(tmp_path):
    net = load_text("torch", tmp_path, POOLED)
    top = net.evaluate(torch.zeros(2, 2, 9, 10), "pool")
    dx = net.input_gradient(torch.zeros_like(top))
    assert dx.shape == (2, 2, 9, 10)
    assert not dx.any()


def test_only_the_wanted_channels_of_the_last_weights_are_computed(tmp_path, monkeypatch):
    net = load_text("torch", tmp_path, POOLED)
    shapes = []
    plain = ConvolutionOp.forward
    monkeypatch.setattr(
        ConvolutionOp,
        "forward",
        lambda self, x: (out := plain(self, x), shapes.append(out[0][0].shape[1]))[0],
    )
    net.evaluate(torch.tensor(noise(3, 2, 9, 10)), "pool_b", (5, 7))
    assert shapes == [6, 2]


def test_of_plans_for_some_channels_the_last_one_is_kept(tmp_path):
    net = load_text("torch", tmp_path, POOLED)
    x = torch.tensor(noise(3, 2, 9, 10))
    whole = net.evaluate(x, "pool_b").clone()
    for channels in ((5,), (7, 1), (5,), (30,)):
        np.testing.assert_allclose(
            net.evaluate(x, "pool_b", channels), whole[:, list(channels)], rtol=1e-5, atol=1e-6
        )
    assert len(net._plans) == 2


# data -> a -> relu -> b -> relu -\
#                 \--> c (3 x 3) --- joined -> d -> relu -> e -> twice -> f (one group) -> end
#                 \--> pool -------/                         \-> twice -/
JOINED = net_text(
    conv("a", "data", 3, 3, "pad: 1"),
    relu("relu_a", "a"),
    conv("b", "a", 5),
    relu("relu_b", "b"),
    conv("c", "a", 2, 3, "pad: 1"),
    layer("pool", "Pooling", "a", "pool", "pooling_param { kernel_size: 3 stride: 1 pad: 1 }"),
    layer("joined", "Concat", "b c pool"),
    conv("d", "joined", 4, 3, "stride: 2 pad: 1"),
    relu("relu_d", "d"),
    layer("twice", "Concat", "d d"),
    conv("f", "twice", 6),
    conv("end", "f", 2),
    data=(1, 2, 8, 9),
)


def joined(net, name: str) -> dict[str, str]:
    return {step.layer.name: step.concat.name for step in steps(net, name) if step.concat}


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("name", ["joined", "d", "relu_d", "twice", "f", "end"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_convolution_takes_what_a_concat_would_have_joined(
    tmp_path, monkeypatch, name, mode, packed
):
    """By oneDNN's own operators, and where this PyTorch lacks them."""
    net = load_text("torch", tmp_path, JOINED)
    if not packed:
        monkeypatch.setattr("deepvis_caffe.engines.torch.kernels.usable", lambda x: False)
    # The last one looks for channels without a diff.
    taken = {"f": {"d": "joined"}, "end": {"d": "joined", "f": "twice"}}
    assert joined(net, name) == taken.get(name, {})
    x = noise(3, 2, 8, 9)
    value = net.model.graph.gradient_start(name)
    net.forward(x, [])
    dy = noise(3, *net.shapes[value][1:], seed=4)
    dx = net.backward(name, dy, mode)["data"]
    for _ in range(2):
        top = net.evaluate(torch.tensor(x), name)
        np.testing.assert_allclose(top, net._values[value].detach(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(net.input_gradient(torch.tensor(dy), mode), dx, atol=1e-4)


def test_what_others_need_is_joined(tmp_path):
    net = load_text("torch", tmp_path, JOINED)
    data, shown = Value("data"), [Value("joined")]
    plan = make_plan(net.model.graph, net._program, Value("end"), data, [data], shown=shown)
    assert [step.concat.name for step in plan if step.concat] == ["twice"]

    def without(old: str, new: str) -> dict[str, str]:
        assert old in JOINED
        changed = f"{JOINED.replace(old, new)}\n{layer('out', 'Eltwise', 'end g')}"
        return joined(load_text("torch", tmp_path, changed), "out")

    pooled, end = conv("g", "f", 2), conv("end", "f", 2)
    assert without(end, f"{end}\n{pooled}") == {"d": "joined", "f": "twice"}
    strided = conv("g", "joined", 2, 3, "stride: 2 pad: 1")
    assert without(end, f"{end}\n{strided}") == {"f": "twice"}  # two read it
    grouped = conv("f", "twice", 6, 1, "group: 2")
    assert without(conv("f", "twice", 6), f"{grouped}\n{pooled}") == {"d": "joined"}
    tall = JOINED.replace(
        '"twice" type: "Concat"', '"twice" concat_param { axis: 2 } type: "Concat"'
    )
    assert joined(load_text("torch", tmp_path, tall), "end") == {"d": "joined"}


def test_an_error_names_what_a_joined_convolution_came_upon(tmp_path):
    net = load_text("torch", tmp_path, JOINED)
    (step,) = [step for step in steps(net, "end") if step.layer.name == "d"]
    wrong = [torch.zeros(1, channels, 8, 9) for channels in (5, 2, 4)]
    with pytest.raises(EngineError, match=r"'d' \(Convolution\) .* joined \(1, 11, 8, 9\)"):
        net._check(step, wrong)
    with pytest.raises(
        EngineError, match=r"'d' .* on b \(1, 5, 8, 9\), c .*, pool \(1, 4, 8, 9\): "
    ):
        Pass([step], dict(zip(step.bottoms, wrong, strict=True)), step.bottoms[0], step.tops[0])
    wrong[2] = torch.zeros(1, 3, 8, 8)
    with pytest.raises(EngineError, match=r"'joined' \(Concat\) cannot run on b \(1, 5, 8, 9\)"):
        net._check(step, wrong)

"""Which layers make the channels of a value: those whose units affect it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.unit_sources import unit_sources

TEXT = net_text(
    conv("a", "data", 4),
    layer("prelu", "PReLU", "a", "a"),
    conv("b", "data", 2),
    layer("b_on", "ReLU", "b", "b_on", "relu_param { negative_slope: 0.2 }"),
    conv("c", "data", 6),
    layer("norm", "BatchNorm", "c", "c"),
    layer("scale", "Scale", "c", "c"),
    layer("join", "Concat", "a b_on c"),
    layer("pool", "Pooling", "join", "", "pooling_param { kernel_size: 2 stride: 2 pool: AVE }"),
    layer("shuffle", "ShuffleChannel", "pool", "", "shuffle_channel_param { group: 3 }"),
    layer("cut", "Slice", "shuffle", "first second third", "slice_param { slice_point: [5, 9] }"),
    layer("side", "Pooling", "a", "", "pooling_param { kernel_size: 2 stride: 2 pool: AVE }"),
    layer("sum", "Eltwise", "second side"),
    layer("twice", "Concat", "sum first"),
    layer("below", "Concat", "a a", "below", "concat_param { axis: 2 }"),
    layer("less", "Eltwise", "second side", "", "eltwise_param { coeff: 1 coeff: -1 }"),
    layer("soft", "Softmax", "sum"),
    data=(1, 3, 4, 4),
).replace("slice_point: [5, 9]", "slice_point: 5 slice_point: 9")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    return load_text("torch", tmp_path_factory.mktemp("net"), TEXT)


@pytest.mark.parametrize(
    "name", ["join", "pool", "shuffle", "first", "second", "third", "sum", "twice", "below", "b_on"]
)
def test_a_channel_changes_with_the_units_that_it_is(net: Net, name: str, tmp_path: Path) -> None:
    sources = unit_sources(net.model, net.model.graph.activation(name))
    x = noise(1, 3, 4, 4)
    before = net.forward(x, [name])[name][0]
    found: set[tuple[str, int, int]] = set()
    for maker, units in {"a": 4, "b": 2, "c": 6}.items():
        for unit in range(units):
            weights = {key: [one.copy() for one in w] for key, w in net.model.weights.items()}
            weights[maker][1][unit] += 1
            changed = load_text("torch", tmp_path, TEXT, weights).forward(x, [name])[name][0]
            moved = np.abs(changed - before).reshape(len(before), -1).max(axis=1) > 1e-6
            found.update((maker, unit, int(channel)) for channel in np.flatnonzero(moved))
    said = set()
    for one in sources:
        assert one.channels is not None
        said.update(
            (one.name, int(unit), channel) for channel, unit in enumerate(one.channels) if unit >= 0
        )
    assert said == found


def test_the_value_is_what_lies_above_a_rectifier(net: Net) -> None:
    graph = net.model.graph
    joined = unit_sources(net.model, graph.activation("join"))
    assert [(one.name, one.value) for one in joined] == [
        ("a", graph.blobs["a"]),
        ("b", graph.blobs["b_on"]),
        ("c", graph.blobs["c"]),
    ]
    below = unit_sources(net.model, graph.gradient_start("a"), lambda one: one.type == "Input")
    assert [(one.name, one.channels, one.is_input) for one in below] == [("data", None, True)]


@pytest.mark.parametrize("name", ["less", "soft"])
def test_mixed_units_have_sources_but_no_channels(net: Net, name: str) -> None:
    found = unit_sources(net.model, net.model.graph.activation(name))
    assert {one.name for one in found} == {"a", "b", "c"}
    assert all(one.channels is None for one in found)

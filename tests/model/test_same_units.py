"""Equivalent units: the net computes the same values for both."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.model.same_units import SameUnits, same_units

TEXT = net_text(
    conv("left", "data", 2),
    relu("left_relu", "left"),
    conv("right", "data", 3),
    layer("right_relu", "ReLU", "right", "right_on"),
    layer("joined", "Concat", "left right_on"),
    layer("pool", "Pooling", "joined", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    layer("turn", "Scale", "joined", "turned", ""),
    layer("after", "Pooling", "turned", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    layer("sum", "Eltwise", "joined turned"),
    layer("sum_on", "ReLU", "sum", "sum_on"),
    layer("fc", "InnerProduct", "pool", "", "inner_product_param { num_output: 4 }"),
    layer("prob", "Softmax", "fc"),
    data=(1, 3, 4, 4),
)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    generator = np.random.default_rng(0)
    weights = arrays(
        left=(generator.normal(0, 1, (2, 3, 1, 1)), np.zeros(2)),
        right=(generator.normal(0, 1, (3, 3, 1, 1)), np.zeros(3)),
        turn=([-1, 1, -1, 1, -1],),
        fc=(generator.normal(0, 1, (4, 20)), np.zeros(4)),
    )
    return load_text("torch", tmp_path_factory.mktemp("net"), TEXT, weights)


@pytest.mark.parametrize("name", ["right_on", "joined", "pool", "after", "sum_on"])
def test_they_have_the_same_values(net: Net, name: str) -> None:
    x = noise(2, 3, 4, 4)
    value, checked = net.forward(x, [name])[name], set()
    for same in same_units(net.model, name):
        for other in same.names:
            found = net.forward(x, [other])[other]
            found = np.maximum(found, 0) if other == "right" else found  # below its ReLU
            if name == "sum_on":
                found = np.maximum(found, 0)
            if value.shape[2] < found.shape[2]:
                found = found.reshape(*found.shape[:2], 2, 2, 2, 2).max(axis=(3, 5))
            for unit, number in same.units.items():
                np.testing.assert_array_equal(value[:, unit], found[:, number])
                checked.add(unit)
    assert checked == set(range(value.shape[1]))


@pytest.mark.parametrize("name", ["left", "right", "turned", "sum", "fc", "prob", "data"])
def test_a_layer_with_units_of_its_own_has_no_others(net: Net, name: str) -> None:
    """A Scale may turn a unit around, a sum is of several, and a softmax of all."""
    assert same_units(net.model, name) == ()


def test_layers_that_the_user_names_come_first(net: Net) -> None:
    named = {"prob": "fc", "joined": "old", "turned": "after"}
    assert same_units(net.model, "prob", named) == (SameUnits(("fc",), {k: k for k in range(4)}),)
    first, *others = same_units(net.model, "joined", named)
    assert first == SameUnits(("old",), {k: k for k in range(5)})  # of the results alone
    assert tuple(others) == same_units(net.model, "joined")
    with pytest.raises(UnknownNameError, match="join"):
        same_units(net.model, "join")

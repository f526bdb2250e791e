"""What the maps of some methods sum to, on the nets that we ship.

Integrated gradients are complete: they sum to the difference between image and baseline. Relevance
is conserved: it sums to the score, where all of that comes from the image and nothing from biases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import noise, weights_for

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.resources import resource

# The layer whose units are the classes, below any Softmax. Nets whose layers are those of another
# one here are left out: the VGGs, AlexNet, CaffeNet's second version and the deeper ResNets.
QUICK = {"lenet": "ip2", "lenet_digits": "ip2"}
LONG = {
    "bvlc_googlenet": "loss3/classifier",
    "bvlc_reference_caffenet": "fc8",
    "densenet121": "fc6",
    "m11": "fc",
    "mobilenet_v1": "fc7",
    "mobilenet_v2": "fc7",
    "nin_imagenet": "pool4",
    "resnet50": "fc1000",
    "shufflenet_g3": "fc1000",
    "sketch_a_net": "conv8",
    "squeezenet_v1.0": "pool10",
    "squeezenet_v1.1": "pool10",
    "zfnet": "fc8",
}
FADES = "mobilenet_v1"  # random weights leave of an image's difference little more than rounding
# Some convolutions have no positive contribution, and z+ has nobody to share relevance among.
NO_POSITIVE = "shufflenet_g3"


def _nets(*without: str) -> list[Any]:
    long = [pytest.param(name, marks=pytest.mark.slow) for name in LONG if name not in without]
    return [*QUICK, *long]


def _net(name: str) -> tuple[Net, str, np.ndarray]:
    """A net with random weights, its layer of classes, and an image."""
    path = resource("prototxt", f"{name}.prototxt")
    net = dv.load_net(path, weights_for(path), engine="torch", device="cpu")
    x = 50 * noise(1, *net.inputs[net.image_input()][1:])
    return net, (QUICK | LONG)[name], x


@pytest.mark.parametrize("name", _nets(FADES))
def test_integrated_gradients_are_complete(name: str) -> None:
    """On a short way, where the gradient changes little: few steps are enough."""
    net, layer, x = _net(name)
    baseline = 0.9 * x[0]
    steps = {"steps": 4, "batch_size": 2}
    image, other = (_scores(net, layer, one) for one in (x, baseline[None]))
    unit = int(np.abs(image - other).argmax())
    found = dv.attribute(
        net, x, layer, unit, "integrated_gradients", "center", baseline=baseline, **steps
    )
    expected = float(image[unit] - other[unit])
    assert found.map.sum(dtype=np.float64) == pytest.approx(expected, rel=0.05)


def _scores(net: Net, layer: str, x: np.ndarray) -> np.ndarray:
    """The middle value of every class."""
    values = net.forward(x, [layer])[layer][0]
    return values[(slice(None), *(size // 2 for size in values.shape[1:]))]


def _assert_conserved(name: str, method: str, without_biases: Callable[[Net], Net]) -> None:
    net, layer, x = _net(name)
    net = without_biases(net)
    scores = _scores(net, layer, x)
    unit = int(np.abs(scores).argmax())  # the least that cancels out
    found = dv.attribute(net, x, layer, unit, method, "center", epsilon=1e-30)
    rounding = 1e-6 * np.abs(found.map).sum(dtype=np.float64)
    expected = pytest.approx(float(scores[unit]), rel=1e-4, abs=rounding)
    assert found.map.sum(dtype=np.float64) == expected


@pytest.mark.parametrize("name", _nets())
def test_relevance_by_the_epsilon_rule_is_conserved(
    name: str, without_biases: Callable[[Net], Net]
) -> None:
    _assert_conserved(name, "lrp_epsilon", without_biases)


@pytest.mark.parametrize("name", _nets(NO_POSITIVE))
def test_relevance_by_the_z_plus_rule_is_conserved(
    name: str, without_biases: Callable[[Net], Net]
) -> None:
    _assert_conserved(name, "lrp_z_plus", without_biases)

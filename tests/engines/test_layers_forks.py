"""Layers of forks that the Caffe of ``make pycaffe`` has: the torch engine against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.agreement import assert_engines_agree
from helpers.engine_nets import layer, load_text, net_text, noise, relu

from deepvis_caffe.errors import EngineError

pytestmark = pytest.mark.pycaffe

IMAGES = (2, 3, 5, 4)
WITHOUT_BACKWARD = ()  # the modes of layers whose backward pass does nothing in that Caffe


@pytest.mark.parametrize(
    ("params", "shape"),
    [("scale: 3", IMAGES), ("scale: 2 dims_num: 3", (2, 3, 5)), ("", IMAGES)],
)
def test_upsample(caffe: Any, params: str, shape: tuple[int, ...]) -> None:
    upsample = layer("x", "Upsample", "data", "", f"upsample_param {{ {params} }}")
    assert_engines_agree(net_text(upsample, data=shape), modes=WITHOUT_BACKWARD)


@pytest.mark.parametrize(
    ("kind", "params", "modes"),
    [
        ("ReLU6", "", ("gradient",)),
        ("ReLU6", "relu6_param { negative_slope: 0.5 threshold: 2 }", ("gradient",)),
        ("HardSigmoid", "", WITHOUT_BACKWARD),
        ("HardSigmoid", "hardsigmoid_param { alpha: 0.3 beta: 0.1 }", WITHOUT_BACKWARD),
        ("HardSwish", "", WITHOUT_BACKWARD),
    ],
)
def test_activation(caffe: Any, kind: str, params: str, modes: tuple[str, ...]) -> None:
    text = net_text(layer("x", kind, "data", "", params), data=IMAGES)
    assert_engines_agree(text, lambda noise: 4 * noise, modes)


def test_a_layer_whose_backward_pass_does_nothing_is_said_so(caffe: Any, tmp_path: Path) -> None:
    """Otherwise its diff would be whatever was there before."""
    text = net_text(layer("x", "Upsample", "data"), relu("r", "x"), data=IMAGES)
    net = load_text("pycaffe", tmp_path, text)
    net.forward(noise(*IMAGES))
    with pytest.raises(EngineError, match=r"'x' \(Upsample\) has no backward pass in this Caffe"):
        net.backward("x", np.ones(IMAGES))

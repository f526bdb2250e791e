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


def test_a_layer_whose_backward_pass_does_nothing_is_said_so(caffe: Any, tmp_path: Path) -> None:
    """Otherwise its diff would be whatever was there before."""
    text = net_text(layer("x", "Upsample", "data"), relu("r", "x"), data=IMAGES)
    net = load_text("pycaffe", tmp_path, text)
    net.forward(noise(*IMAGES))
    with pytest.raises(EngineError, match=r"'x' \(Upsample\) has no backward pass in this Caffe"):
        net.backward("x", np.ones(IMAGES))

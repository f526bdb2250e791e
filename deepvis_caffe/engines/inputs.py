"""The inputs of a net beside its image."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.engines.base import Floats, Net


def zero_inputs(net: Net) -> dict[str, Floats]:
    """Zeros for every input of the net but the image, for one image."""
    others = (name for name in net.inputs if name != net.image_input())
    return {name: np.zeros((1, *net.inputs[name][1:]), np.float32) for name in others}

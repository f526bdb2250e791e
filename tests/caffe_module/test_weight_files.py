"""Parameters of layers that cannot run here: scripts can still read, change and save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepvis_caffe.caffe as ours

# Real Caffe knows the layer in the middle, and the engine does not.
NET = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }
layer { name: "below" type: "Convolution" bottom: "data" top: "below"
        convolution_param { num_output: 3 kernel_size: 2 weight_filler { type: "xavier" } } }
layer { name: "odd" type: "Resize" bottom: "below" top: "odd" resize_param { height: 4 width: 4 } }
layer { name: "above" type: "InnerProduct" bottom: "odd" top: "above"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
"""


@pytest.mark.pycaffe
@pytest.mark.parametrize("later", [False, True])
def test_parameters_above_a_layer_that_cannot_run(caffe: Any, tmp_path: Path, later: bool) -> None:
    prototxt, saved, again = (str(tmp_path / name) for name in ("net.prototxt", "a", "b"))
    Path(prototxt).write_text(NET)
    real = caffe.Net(prototxt, caffe.TEST)
    real.save(saved)
    if later:
        net = ours.Net(prototxt, ours.TEST)
        assert list(net.params) == ["below"]
        net.copy_from(saved)
    else:
        net = ours.Net(prototxt, saved, ours.TEST)
    assert list(net.params) == list(real.params) == ["below", "above"]
    for name, blobs in real.params.items():
        for mine, theirs in zip(net.params[name], blobs, strict=True):
            np.testing.assert_array_equal(mine.data, theirs.data)
    net.params["above"][0].data[...] *= 2
    net.save(again)
    changed = caffe.Net(prototxt, again, caffe.TEST)
    np.testing.assert_array_equal(changed.params["above"][0].data, 2 * real.params["above"][0].data)
    np.testing.assert_array_equal(changed.params["above"][1].data, real.params["above"][1].data)

"""Whether the images of a batch are independent: predictions against running the net."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, noise

from deepvis_caffe.dataset.scan import learned_layers, scan_batch_size
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.batch import batch_norms, why_mixed
from deepvis_caffe.optimizer.batching import resolve_batch_size

DATA = {"data": (2, 3, 4, 4)}
CONV = conv("conv1", "data", 3)

APART = [
    CONV,
    layer("y", "BatchNorm", "data"),
    layer("y", "BatchNorm", "data", "", "batch_norm_param { use_global_stats: true }"),
    layer("y", "Softmax", "data"),
    layer("y", "Concat", "data data"),
    layer("y", "Reshape", "data", "", "reshape_param { shape { dim: 0 dim: -1 } }"),
    layer("y", "MVN", "data"),
    layer("y", "Flatten", "data"),
    layer("y", "Reverse", "data", "", "reverse_param { axis: 2 }"),
]
MIXED = [
    (layer("y", "BatchNorm", "data", "", "batch_norm_param { use_global_stats: false }"), "statis"),
    (layer("y", "Softmax", "data", "", "softmax_param { axis: 0 }"), "along axis 0"),
    (layer("y", "Concat", "data data", "", "concat_param { axis: 0 }"), r"\(2, 3, 4, 4\) for one"),
    (layer("y", "Flatten", "data", "", "flatten_param { axis: 0 }"), r"\(48,\) for one image and"),
    (layer("y", "Permute", "data", "", "permute_param { order: 1 }"), r"\(3, 1, 4, 4\) for one"),
    (
        layer("y", "Reshape", "data", "", "reshape_param { shape { dim: 1 dim: -1 } }"),
        r"\(1, 48\) for one image and \(1, 96\) for two",
    ),
    (layer("y", "Reverse", "data"), "reverses axis 0"),
    (layer("y", "BN", "data", "", "bn_param { bn_mode: LEARN }"), "statistics of the batch"),
    (
        layer("y", "Gather", "data", "", "gather_param { indices: 0 indices: 0 shape: 2 }"),
        "picks rows of axis 0",
    ),
    (layer("y", "Tile", "data", "", "tile_param { axis: 0 tiles: 2 }"), r"\(2, 3, 4, 4\) for one"),
]


@pytest.mark.parametrize("text", APART)
def test_images_that_stay_apart_have_the_values_that_each_has_alone(
    text: str, tmp_path: Path
) -> None:
    net = load_text("torch", tmp_path, net_text(text, **DATA))
    (name,) = net.outputs
    x = noise(2, 3, 4, 4)
    together = net.forward(x)[name]
    alone = [net.forward(one[None])[name] for one in x]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-5, atol=1e-6)
    assert why_mixed(net.model, net.model.graph.activation(name)) == ""


@pytest.mark.parametrize(("text", "why"), MIXED)
def test_images_that_do_not_stay_apart_have_others(text: str, why: str, tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, net_text(text, **DATA))
    x = noise(2, 3, 4, 4)
    together = net.forward(x)["y"]
    alone = [net.forward(one[None])["y"] for one in x]
    apart = together.shape == (2, *alone[0].shape[1:]) and alone[0].shape[0] == 1
    assert not (apart and np.allclose(together, np.concatenate(alone), atol=1e-3))
    said = why_mixed(net.model, net.model.graph.activation("y"))
    assert re.search(why, said)


def test_what_lies_below_a_layer_that_mixes_is_not_mixed(tmp_path: Path) -> None:
    norm = layer("y", "BatchNorm", "conv1", "", "batch_norm_param { use_global_stats: false }")
    net = load_text("torch", tmp_path, net_text(CONV, norm, conv("conv2", "y", 2), **DATA))
    graph = net.model.graph
    assert why_mixed(net.model, graph.activation("conv1")) == ""
    assert why_mixed(net.model, graph.activation("conv2")).startswith("'y' (BatchNorm) normalizes")
    assert batch_norms(net.model, graph.activation("conv2")) == ["y"]
    assert scan_batch_size(net, ["conv1"], 7) == 7
    assert scan_batch_size(net, ["conv1", "conv2"], 7) == 1
    assert resolve_batch_size(net, "conv2", 7) == 1


def test_rows_that_are_no_images_are_not_scanned(tmp_path: Path) -> None:
    cat = layer("cat", "Concat", "data data", "", "concat_param { axis: 0 }")
    net = load_text("torch", tmp_path, net_text(cat, CONV, conv("conv2", "cat", 2), **DATA))
    assert learned_layers(net) == ("conv1",)
    with pytest.raises(EngineError, match=r"'conv2' has shape \(2, 2, 4, 4\) for one image"):
        scan_batch_size(net, ["conv2"])


def test_a_filter_leaves_images_out(tmp_path: Path) -> None:
    net = load_text("torch", tmp_path, net_text(layer("y", "Filter", "data on"), **DATA, on=(2, 1)))
    said = why_mixed(net.model, net.model.graph.activation("y"))
    assert said == "'y' (Filter) drops rows of axis 0"


def test_a_sequence_is_not_a_batch(tmp_path: Path) -> None:
    lstm = layer("y", "LSTM", "data on", "", "recurrent_param { num_output: 2 }")
    net = load_text("torch", tmp_path, net_text(lstm, data=(4, 1, 5), on=(4, 1)))
    said = why_mixed(net.model, net.model.graph.activation("y"))
    assert said == "'y' (LSTM) treats axis 0 as steps of a sequence"

"""Layers with a row for each detection instead of each image: what works, and what is refused.

data -- conv -+- offsets ---------+
              |                   |
              +- scores - prob ---+- found (DetectionOutput) - moved
              +- prior (PriorBox)-+
                          |
                          both (Concat of PriorBoxes)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise

import deepvis_caffe as dv
from deepvis_caffe.dataset.scan import ScanParams, learned_layers
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.experiments.sensitivity import sensitivity_layers
from deepvis_caffe.optimizer.run import optimize
from deepvis_caffe.viewer.state.catalogue import catalogue, opaque_blobs

PRIOR = "prior_box_param { min_size: 4 clip: false }"
FOUND = (
    "detection_output_param { num_classes: 2 code_type: CORNER confidence_threshold: 0.4 "
    "nms_param { nms_threshold: 0.9 } }"
)
TEXT = net_text(
    conv("conv", "data", 3, 2, "stride: 2"),
    conv("offsets", "conv", 4),
    layer("offsets_flat", "Flatten", "offsets"),
    conv("scores", "conv", 2),
    layer("prob", "Softmax", "scores"),
    layer("prob_last", "Permute", "prob", "", "permute_param { order: 0 order: 2 order: 3 }"),
    layer("prob_flat", "Flatten", "prob_last"),
    layer("prior", "PriorBox", "conv data", "", PRIOR),
    layer("both", "Concat", "prior prior", "", "concat_param { axis: 2 }"),
    layer("found", "DetectionOutput", "offsets_flat prob_flat prior", "", FOUND),
    layer("moved", "Power", "found", "", "power_param { shift: 1 }"),
    data=(1, 2, 6, 6),
)
WEIGHTS = arrays(
    conv=(noise(3, 2, 2, 2), noise(3)),
    offsets=(noise(4, 3, 1, 1, seed=2), noise(4, seed=3)),
    scores=(noise(2, 3, 1, 1, seed=4), np.zeros(2)),
)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT, WEIGHTS)


def test_the_number_of_rows_follows_the_image(net: Net) -> None:
    """One row for each of the nine places whose second score is above the threshold."""
    counts = set()
    for seed in range(5):
        x = noise(2, 2, 6, 6, seed=seed)
        values = net.forward(x, ["prob", "found", "moved"])
        rows = values["found"][0, 0]
        for image in range(2):
            own = rows[rows[:, 0] == image]
            expected = values["prob"][image, 1][values["prob"][image, 1] > 0.4]
            np.testing.assert_array_equal(own[:, 2], np.sort(expected)[::-1])
        np.testing.assert_array_equal(values["moved"], values["found"] + 1)
        counts.add(len(rows))
    assert len(counts) > 1


def test_nothing_that_counts_rows_of_units_takes_them(net: Net) -> None:
    for name in ("found", "moved"):
        with pytest.raises(ModelError, match=rf"'{name}' \(\w+\) has no units: it has one row for"):
            ScanParams((name,)).for_net(net)
        with pytest.raises(EngineError, match=f"'{name}' has no gradient: it depends on 'found'"):
            optimize(net, name, [0], iterations=1)
        with pytest.raises(ModelError, match=f"'{name}' .* layer that does not depend on 'found'"):
            dv.attribute(net, noise(1, 2, 6, 6), name, 0, "occlusion")
    for name in ("prior", "both"):
        with pytest.raises(ModelError, match=f"'{name}' .* is the same for every image"):
            ScanParams((name,)).for_net(net)


def test_what_is_taken_by_default_leaves_them_out(net: Net) -> None:
    assert learned_layers(net) == ("conv", "offsets", "scores")
    assert sensitivity_layers(net) == ("conv", "offsets", "scores")
    finders = {info.name: info.finder for info in net.layers if info.finder}
    assert finders == {"found": "found", "moved": "found"}


def test_the_viewer_lists_them_in_gray(net: Net) -> None:
    entries = catalogue(net)
    units = ["conv", "offsets", "offsets_flat", "scores", "prob", "prob_last", "prob_flat"]
    assert [entry.name for entry in entries] == units
    gray = {one.name: one for one in opaque_blobs(net, entries)}
    assert list(gray) == ["prior", "both", "found", "moved"]
    assert {one.short for one in gray.values()} == {"no units"}
    assert gray["moved"].why.startswith("it has one row for each thing that 'found' (Detection")
    assert {one.before for one in gray.values()} == {7}

"""Layers of detectors: the torch engine against real Caffe, if it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.agreement import assert_engines_agree
from helpers.engine_nets import layer, net_text

pytestmark = pytest.mark.pycaffe


def prior(params: str) -> str:
    return layer("prior", "PriorBox", "x data", "", f"prior_box_param {{ clip: false {params} }}")


@pytest.mark.parametrize(
    "params",
    [
        "min_size: 30.5",
        "min_size: 9 max_size: 20.75 aspect_ratio: 2",
        "min_size: 9 min_size: 17 max_size: 20 max_size: 30 aspect_ratio: 2 aspect_ratio: 3",
        "min_size: 9 aspect_ratio: 2 aspect_ratio: 2 aspect_ratio: 1 flip: false variance: 0.3",
        "min_size: 30 variance: 0.1 variance: 0.2 variance: 0.3 variance: 0.4 offset: 0.25",
        "min_size: 30 clip: true step: 8 img_size: 40",
        "min_size: 30 step_h: 8 step_w: 5.5 img_h: 40 img_w: 30",
    ],
)
def test_prior_box(caffe: Any, params: str) -> None:
    text = net_text(prior(params), x=(2, 3, 3, 4), data=(2, 3, 24, 36))
    assert_engines_agree(text, modes=())


def ssd(params: str, suppression: str = "nms_threshold: 0.45 top_k: 100") -> str:
    """The head of an SSD of four classes over 3 x 4 positions of three boxes each."""
    found = f"num_classes: 4 {params} nms_param {{ {suppression} }}"
    located = 4 if "share_location: false" in params else 1
    scores = "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }"
    return net_text(
        prior("min_size: 9 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2 variance: 1"),
        layer("rows", "Reshape", "scores", "", scores),
        layer("prob", "Softmax", "rows", "", "softmax_param { axis: 2 }"),
        layer("flat", "Flatten", "prob"),
        layer(
            "out",
            "DetectionOutput",
            "offsets flat prior",
            "",
            f"detection_output_param {{ {found} }}",
        ),
        data=(2, 3, 24, 36),
        x=(2, 3, 3, 4),
        offsets=(2, 36 * located * 4),
        scores=(2, 36 * 4),
    )


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
@pytest.mark.parametrize(
    "params",
    [
        "",
        "share_location: false",
        "background_label_id: 2 variance_encoded_in_target: true",
        "keep_top_k: 10 confidence_threshold: 0.3",
        "confidence_threshold: 2",
    ],
)
def test_detection_output(caffe: Any, code: str, params: str) -> None:
    text = ssd(f"code_type: {code} {params}")
    assert_engines_agree(text, values=lambda noise: np.asarray(noise * 0.7), modes=())


def test_caffe_writes_no_files_of_what_it_detects(caffe: Any, tmp_path: Path) -> None:
    """It would end this process, because the file of labels is not there."""
    saved = (
        f'output_directory: "{tmp_path}/saved" output_name_prefix: "result" output_format: "VOC" '
        f'label_map_file: "{tmp_path}/labelmap.prototxt" name_size_file: "{tmp_path}/sizes.txt"'
    )
    text = ssd(f"code_type: CENTER_SIZE visualize: true save_output_param {{ {saved} }}")
    assert_engines_agree(text, values=lambda noise: np.asarray(noise * 0.7), modes=())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "suppression",
    ["nms_threshold: 0.1", "nms_threshold: 0.7 eta: 0.8", "nms_threshold: 0.3 top_k: 5"],
)
def test_suppression_of_detections(caffe: Any, suppression: str) -> None:
    text = ssd("code_type: CENTER_SIZE confidence_threshold: 0.1", suppression)
    assert_engines_agree(text, modes=())


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    "params",
    [
        "scale: 20 scale: 35 min_size: 1",
        "scale: 20 min_size: 12 pre_nms_topn: 10 nms_thresh: 0.3 feat_stride: 9",
        "scale: 16 scale: 30 scale: 9 min_size: 1 post_nms_topn: 7 nms_thresh: 0.5",
    ],
)
def test_proposal(caffe: Any, images: int, params: str) -> None:
    """With a base box of one pixel: this Caffe takes `scale` for pixels, PVANET for base boxes.

    Boxes that are too small score 0, and Caffe leaves equal scores in any order; so none of them
    comes as far as the suppression.
    """
    count = params.count("scale")
    proposal = f"proposal_param {{ base_size: 1 ratio: 1 {params} }}"
    text = net_text(
        layer("prob", "Sigmoid", "scores"),
        layer("rois", "Proposal", "prob offsets info", "rois found", proposal),
        scores=(images, 2 * count, 5, 6),
        offsets=(images, 4 * count, 5, 6),
        info=(1, 3),
    )

    def values(noise: np.ndarray) -> np.ndarray:
        return np.array([[60, 80, 1]]) if noise.shape == (1, 3) else noise * 0.5

    assert_engines_agree(text, values, modes=())

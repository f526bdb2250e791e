"""OpenCV's face detector, with its real weights, on a photograph of a face."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from deepvis_caffe.engines.load import load_net
from deepvis_caffe.errors import FetchError
from deepvis_caffe.fetch import fetch, known_models


@pytest.mark.slow
@pytest.mark.process
def test_it_finds_the_face_in_a_photograph() -> None:
    """Box by eye, from hair to chin and from ear to ear, in parts of the picture's size."""
    try:
        weights = fetch("res10-face")
    except FetchError as error:
        pytest.skip(f"needs the detector's weights: {error}")
    row = known_models()["res10-face"]
    net = load_net(row.prototxt, weights, "torch", mean=row.mean, device="cpu")
    x = net.preprocessor(data.astronaut())[None]
    found = net.forward(x)["detection_out"].reshape(-1, 7)
    _, kind, score, *box = found[found[:, 2].argmax()]
    assert kind == 1
    assert score > 0.99
    np.testing.assert_allclose(box, (0.35, 0.12, 0.53, 0.34), atol=0.03)
    others = found[found[:, 2] < score, 2]
    assert (others < 0.5).all()

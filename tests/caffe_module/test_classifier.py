"""`deepvis_caffe.caffe.classifier` beside pycaffe's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.caffe_net import write_net

from deepvis_caffe.caffe.classifier import Classifier

RNG = np.random.default_rng(0)
USUAL = {
    "image_dims": (16, 17),
    "mean": np.array([100.0, 110.0, 120.0]),
    "raw_scale": 255,
    "channel_swap": (2, 1, 0),
    "input_scale": 0.01,
}


def images(channels: int = 3) -> list[np.ndarray]:
    sizes = [(20, 30), (16, 17), (11, 12)]
    return [RNG.uniform(0, 1, (*size, channels)).astype(np.float32) for size in sizes]


@pytest.mark.pycaffe
@pytest.mark.parametrize("oversample", [True, False])
@pytest.mark.parametrize(
    "options",
    [USUAL, {}, {"raw_scale": 9}, {"image_dims": [13, 15], "mean": RNG.uniform(0, 1, (3, 20, 20))}],
)
def test_predictions_are_pycaffes(
    real: Any, tmp_path: Path, options: dict[str, Any], oversample: bool
) -> None:
    files, batch = write_net(tmp_path), images()
    wanted = real.Classifier(*files, **options).predict(batch, oversample)
    predicted = Classifier(*files, **options).predict(batch, oversample=oversample)
    assert np.ptp(wanted, axis=0).max() > 1e-3  # the images differ
    np.testing.assert_allclose(predicted, wanted, atol=1e-4)


@pytest.mark.pycaffe
def test_gray_images(real: Any, tmp_path: Path) -> None:
    files, batch = write_net(tmp_path, channels=1), images(channels=1)
    options = {"raw_scale": 255, "image_dims": (14, 14), "mean": np.array([128.0])}
    wanted = real.Classifier(*files, **options).predict(batch)
    np.testing.assert_allclose(Classifier(*files, **options).predict(batch), wanted, atol=1e-4)


@pytest.mark.pycaffe
def test_what_scripts_read_of_a_classifier(real: Any, tmp_path: Path) -> None:
    files = write_net(tmp_path)
    mine, theirs = (one(*files, **USUAL) for one in (Classifier, real.Classifier))
    for name in ("mean", "raw_scale", "channel_swap", "input_scale", "transpose"):
        np.testing.assert_equal(
            getattr(mine.transformer, name), getattr(theirs.transformer, name), err_msg=name
        )
    np.testing.assert_array_equal(mine.crop_dims, theirs.crop_dims)
    assert tuple(mine.image_dims) == tuple(theirs.image_dims) == (16, 17)
    assert mine.inputs == theirs.inputs == ["data"]


@pytest.mark.pycaffe
def test_image_dims_are_not_looked_at_until_they_are_needed(real: Any, tmp_path: Path) -> None:
    files = write_net(tmp_path)
    for classifier in (real.Classifier, Classifier):  # scripts pass a phase there
        assert classifier(*files, real.TEST).image_dims == 1
        assert tuple(classifier(*files, real.TRAIN).image_dims) == (13, 13)
    assert tuple(Classifier(*files, np.array([16, 17])).image_dims) == (16, 17)
    with pytest.raises(ValueError, match=r"image_dims is 1: expected \(height, width\)"):
        Classifier(*files, real.TEST).predict(images())
    with pytest.raises(ValueError, match=r"at least \(13, 13\)"):
        Classifier(*files, (16, 12)).predict(images())


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images to classify"):
        Classifier(*write_net(tmp_path)).predict([])

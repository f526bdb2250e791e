"""Net methods of 2014, against pycaffe's later `Transformer`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.caffe_net import write_net

import deepvis_caffe.caffe as ours

RNG = np.random.default_rng(0)
PHOTO = RNG.uniform(0, 1, (20, 17, 3)).astype(np.float32)
MEAN = RNG.uniform(90, 130, (3, 18, 16))


def net(folder: Path) -> Any:
    """A net as scripts of 2014 make it: without a phase."""
    made = ours.Net(*write_net(folder))
    made.set_phase_test()
    made.set_mode_cpu()
    return made


def transformer(real: Any, shape: tuple[int, ...], mean: np.ndarray) -> Any:
    """What a script has instead since 2015."""
    made = real.io.Transformer({"data": shape})
    made.set_transpose("data", (2, 0, 1))
    made.set_mean("data", mean)
    made.set_raw_scale("data", 255)
    made.set_input_scale("data", 0.5)
    made.set_channel_swap("data", (2, 1, 0))
    return made


@pytest.mark.pycaffe
@pytest.mark.parametrize("mode", ["elementwise", "channel"])
@pytest.mark.parametrize("in_file", [True, False])
def test_images_are_preprocessed(real: Any, tmp_path: Path, mode: str, in_file: bool) -> None:
    old, photo = net(tmp_path), PHOTO.copy()
    np.save(tmp_path / "mean.npy", MEAN)
    old.set_mean("data", str(tmp_path / "mean.npy") if in_file else MEAN, mode=mode)
    old.set_raw_scale("data", 255)
    old.set_input_scale("data", 0.5)
    old.set_channel_swap("data", (2, 1, 0))
    new = transformer(real, (4, 3, 13, 13), MEAN.mean((1, 2)) if mode == "channel" else MEAN)
    wanted = new.preprocess("data", photo.copy())
    got = old.preprocess("data", photo)
    np.testing.assert_allclose(got, wanted, atol=1e-3)
    np.testing.assert_allclose(old.deprocess("data", got), new.deprocess("data", wanted), atol=1e-5)
    np.testing.assert_array_equal(photo, PHOTO)


@pytest.mark.pycaffe
def test_the_input_may_be_reshaped_in_between(real: Any, tmp_path: Path) -> None:
    old, mean = net(tmp_path), np.array([100.0, 110, 120])
    old.set_mean("data", mean)
    for setting, value in (("raw_scale", 255), ("input_scale", 0.5), ("channel_swap", (2, 1, 0))):
        getattr(old, f"set_{setting}")("data", value)
    old.blobs["data"].reshape(1, 3, 9, 14)
    wanted = transformer(real, (1, 3, 9, 14), mean).preprocess("data", PHOTO.copy())
    np.testing.assert_allclose(old.preprocess("data", PHOTO), wanted, atol=1e-3)


@pytest.mark.pycaffe
def test_a_classifier_has_one_transformer(real: Any, tmp_path: Path) -> None:
    files, mean = write_net(tmp_path), RNG.uniform(0, 255, (3, 20, 20))
    np.save(tmp_path / "mean.npy", mean)
    old = ours.Classifier(*files, mean_file=str(tmp_path / "mean.npy"), channel_swap=(2, 1, 0))
    old.set_phase_test()
    old.set_raw_scale("data", 255)
    new = real.Classifier(*files, mean=mean, channel_swap=(2, 1, 0), raw_scale=255)
    np.testing.assert_allclose(old.predict([PHOTO]), new.predict([PHOTO]), atol=1e-4)
    wanted = new.transformer.preprocess("data", PHOTO.copy())
    np.testing.assert_allclose(old.preprocess("data", PHOTO), wanted, atol=1e-3)


def test_what_has_no_effect_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = net(tmp_path)
    ours.set_phase_test()
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        made.set_phase_train()
        ours.set_phase_train()
    assert caplog.text.count("make the net with caffe.TRAIN") == 2

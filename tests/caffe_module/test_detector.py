"""`deepvis_caffe.caffe.detector` beside pycaffe's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.caffe_net import write_net
from PIL import Image

import deepvis_caffe.caffe.io as our_io
from deepvis_caffe.caffe.detector import Detector
from deepvis_caffe.errors import EngineError, ImageError

RNG = np.random.default_rng(0)
USUAL = {
    "mean": np.array([100.0, 110.0, 120.0]),
    "raw_scale": 255,
    "channel_swap": (2, 1, 0),
    "input_scale": 0.01,
}
# In the middle, at corners, at the borders, the whole image, of the net's size, of one pixel, and
# one of which two parts of a pixel are rounded up.
WINDOWS = [(6, 8, 20, 25), (0, 0, 9, 7), (19, 30, 30, 40), (3, 0, 28, 40), (0, 0, 30, 40)]
WINDOWS += [(5, 5, 18, 18), (12, 20, 13, 21), (0, 33, 4, 39), (3, 27, 15, 35)]


class FloatIndices(np.ndarray):
    """An array that takes floats as indices, as numpy did when pycaffe was written."""

    def __getitem__(self, key: Any) -> Any:
        def whole(part: Any) -> Any:
            edges = (part.start, part.stop, part.step)
            return slice(*(edge if edge is None else int(edge) for edge in edges))

        if isinstance(key, tuple) and all(isinstance(part, slice) for part in key):
            key = tuple(map(whole, key))
        return super().__getitem__(key)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Two photographs of noise, 30 x 40."""
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for path in paths:
        Image.fromarray(RNG.integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(path)
    return paths


@pytest.mark.pycaffe
@pytest.mark.parametrize("options", [USUAL, {}])
def test_detections_are_pycaffes(
    real: Any, photos: list[str], tmp_path: Path, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real.io, "load_image", our_io.load_image)  # pycaffe's own is broken
    files = write_net(tmp_path)
    wanted = real.Detector(*files, **options)
    pairs = [(photos[0], WINDOWS), (photos[1], WINDOWS[:2])]
    theirs = wanted.detect_windows(pairs)
    found = Detector(*files, **options).detect_windows(iter(pairs))
    assert [(one["filename"], one["window"]) for one in found] == [
        (one["filename"], one["window"]) for one in theirs
    ]
    for one, other in zip(found, theirs, strict=True):
        np.testing.assert_allclose(one["prediction"], other["prediction"], atol=1e-4)


@pytest.mark.pycaffe
@pytest.mark.parametrize(
    "options",
    [
        USUAL,
        {},
        {"mean": RNG.uniform(0, 1, (3, 13, 13)), "channel_swap": (1, 2, 0)},
    ],
)
@pytest.mark.parametrize("pad", [1, 3])
def test_crops_with_context_are_pycaffes(
    real: Any, tmp_path: Path, options: dict[str, Any], pad: int
) -> None:
    files = write_net(tmp_path)
    mine, theirs = (one(*files, context_pad=pad, **options) for one in (Detector, real.Detector))
    np.testing.assert_allclose(
        np.broadcast_to(mine.crop_mean, mine.crop_dims),
        np.broadcast_to(theirs.crop_mean, theirs.crop_dims),
    )
    image = RNG.uniform(0, 1, (30, 40, 3)).astype(np.float32)
    for window in WINDOWS:
        wanted = theirs.crop(image.view(FloatIndices), np.array(window))
        np.testing.assert_allclose(mine.crop(image, window), wanted, atol=1e-5)
        np.testing.assert_allclose(mine.crop(image, np.array(window, float)), wanted, atol=1e-5)


def test_a_window_may_be_of_floats(tmp_path: Path) -> None:
    image = RNG.uniform(0, 1, (30, 40, 3)).astype(np.float32)
    crop = Detector(*write_net(tmp_path)).crop(image, np.array([2, 3.9, 20, 25]))
    np.testing.assert_array_equal(crop, image[2:20, 3:25])


def test_a_window_of_the_nets_size_leaves_the_image_as_it_is(
    tmp_path: Path, photos: list[str]
) -> None:
    detector = Detector(*write_net(tmp_path), raw_scale=255)
    once = detector.detect_windows([(photos[0], [(5, 5, 18, 18)])])
    twice = detector.detect_windows([(photos[0], [(5, 5, 18, 18)] * 2)])
    for one in twice:
        np.testing.assert_allclose(one["prediction"], once[0]["prediction"], atol=1e-6)


def test_windows_outside_of_the_image(tmp_path: Path) -> None:
    image = np.zeros((30, 40, 3), np.float32)
    files = write_net(tmp_path)
    for pad in (None, 2):
        with pytest.raises(ValueError, match=r"window \(50, 5, 60, 9\) has no pixels") as raised:
            Detector(*files, context_pad=pad).crop(image, (50, 5, 60, 9))
        assert isinstance(raised.value, ImageError)


def test_no_windows(tmp_path: Path, photos: list[str]) -> None:
    assert Detector(*write_net(tmp_path)).detect_windows([(photos[0], [])]) == []


def test_selective_search(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="needs MATLAB"):
        Detector(*write_net(tmp_path)).detect_selective_search(["a.png"])

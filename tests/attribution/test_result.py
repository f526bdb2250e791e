"""`Attribution`: input images of any kind, and the resulting pictures and files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.engine_nets import noise

import deepvis_caffe as dv
from deepvis_caffe.attribution.pictures import overlay, show_diff
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError

PHOTO = np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8)


def test_an_image_is_a_picture_a_file_or_the_nets_input(small: Net, tmp_path: Path) -> None:
    path = dv.write_image(tmp_path / "photo.png", PHOTO)
    x = small.preprocessor(PHOTO)
    small.forward(x[None])
    diff = np.eye(5, dtype=np.float32)[2:3]
    expected = small.backward("ip", diff)["data"][0]
    for image in (PHOTO, path, str(path), x, x[None]):
        found = dv.attribute(small, image, "ip", 2)
        np.testing.assert_allclose(found.map, expected, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(found.image, x)


def test_it_says_what_it_is(small: Net) -> None:
    found = dv.attribute(small, PHOTO, "ip", 2, "smooth_grad", samples=3)
    assert (found.layer, found.unit, found.method, found.position) == (
        *("ip", 2, "smooth_grad"),
        "all",
    )
    assert found.parameters == {"samples": 3, "noise_level": 0.15, "seed": 0, "batch_size": 8}


def test_the_picture_saturates_the_largest_hundredth(small: Net) -> None:
    found = dv.attribute(small, PHOTO, "ip", 2)
    edge = np.percentile(np.abs(found.map), 99)
    for style in ("raw", "norm", "signed"):
        expected = show_diff(np.clip(found.map, -edge, edge), small.preprocessor, style)
        np.testing.assert_array_equal(found.picture(style), expected)
    np.testing.assert_array_equal(found.picture(), found.picture("norm"))


def test_a_map_without_channels(small: Net) -> None:
    found = dv.attribute(small, PHOTO, "ip", 2, "grad_cam")
    assert found.map.any()
    hottest = np.unravel_index(found.map.argmax(), found.map.shape)
    picture = found.picture()
    assert (
        picture[hottest].tolist() == picture.reshape(-1, 3)[picture.sum(axis=2).argmax()].tolist()
    )
    below = small.preprocessor.show(found.image)
    np.testing.assert_array_equal(found.overlay(), overlay(below, found.map / found.map.max()))


def test_an_overlay_of_another_picture(small: Net) -> None:
    found = dv.attribute(small, PHOTO, "ip", 2, "grad_cam")
    zeros = np.zeros((24, 32, 3), np.uint8)
    laid = found.overlay(zeros)
    hot = cv2.resize(found.map / found.map.max(), (32, 24))
    np.testing.assert_array_equal(laid, overlay(zeros, np.clip(hot, 0, 1)))
    with pytest.raises(ImageError, match=r"got float64 of shape \(2, 2\)"):
        found.overlay(np.zeros((2, 2)))


def test_save(small: Net, tmp_path: Path) -> None:
    found = dv.attribute(small, PHOTO, "ip", 2, "guided")
    np.testing.assert_array_equal(np.load(found.save(tmp_path / "new" / "map.npy")), found.map)
    np.testing.assert_array_equal(dv.read_image(found.save(tmp_path / "a.png")), found.picture())
    with pytest.raises(ImageError, match="its name must end in"):
        found.save(tmp_path / "map.txt")


def test_a_notebook_shows_the_picture(small: Net) -> None:
    found = dv.attribute(small, noise(1, 3, 12, 16), "ip", 2, "lrp_epsilon")
    blocks = np.kron(found.picture(), np.ones((12, 12, 1), np.uint8))  # 16 pixels in 192
    np.testing.assert_array_equal(dv.read_image(found._repr_png_()), blocks)
    assert "ip unit 2, lrp_epsilon: activation" in found._repr_html_()

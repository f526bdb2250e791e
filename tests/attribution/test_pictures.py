"""Views of a diff against numbers worked out by hand and against scipy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deepvis_caffe.attribution.pictures import heat, overlay, show_diff
from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.model.preprocess import Preprocessor

BGR = Preprocessor(shape=(3, 1, 2))


def _diff(*pixels: tuple[float, float, float]) -> np.ndarray:
    """(3, 1, n) from each pixel's three channels."""
    return np.array(pixels, np.float32).T[:, None]


def test_raw_is_symmetric_about_gray_and_in_rgb() -> None:
    made = show_diff(_diff((-2, 0, 1), (0, 0, 2)), BGR, "raw")
    # channels are B, G, R: -2 is black, 0 is 127.5, 1 of 2 is three quarters, 2 is white
    np.testing.assert_array_equal(made[0], [[191, 128, 0], [255, 128, 128]])


def test_gray_is_the_mean_over_channels() -> None:
    made = show_diff(_diff((3, 0, 0), (-6, 0, 0)), BGR, "gray")  # means 1 and -2
    np.testing.assert_array_equal(made[0, :, 0], [191, 0])
    assert (made == made[..., :1]).all()


def test_norm_runs_from_black_to_white() -> None:
    diff = np.zeros((3, 1, 3), np.float32)
    diff[:, 0, 0], diff[:, 0, 1] = (3, 0, 4), (0, 2.5, 0)  # lengths 5, 2.5, 0
    made = show_diff(diff, Preprocessor(shape=(3, 1, 3)), "norm")
    np.testing.assert_array_equal(made[0, :, 1], [255, 128, 0])


def test_positive_is_the_sum_of_what_is_above_zero() -> None:
    diff = _diff((3, -9, 1), (-1, 2, 0))  # sums 4 and 2; the darkest of three is 0
    diff = np.concatenate([diff, np.full((3, 1, 1), -5, np.float32)], axis=2)
    made = show_diff(diff, Preprocessor(shape=(3, 1, 3)), "positive")
    np.testing.assert_array_equal(made[0, :, 2], [255, 128, 0])


def test_blur_is_scipys(rng: np.random.Generator) -> None:
    diff = rng.normal(size=(3, 20, 30)).astype(np.float32)
    expected = gaussian_filter(np.sqrt((diff.astype(float) ** 2).sum(axis=0)), 4)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(heat(diff), expected, atol=1e-4)
    made = show_diff(diff, Preprocessor(shape=(3, 20, 30)), "blur")
    np.testing.assert_allclose(made[..., 0], expected * 255, atol=0.6)


@pytest.mark.parametrize(
    ("view", "level"), [("raw", 128), ("gray", 128), ("norm", 0), ("blur", 0), ("positive", 0)]
)
def test_a_zero_diff_has_a_picture_too(view: str, level: int) -> None:
    assert (show_diff(np.zeros((3, 1, 2), np.float32), BGR, view) == level).all()


def test_an_overlay_leaves_what_is_cold_and_colors_what_is_hot() -> None:
    picture = np.array([[[10, 20, 30], [100, 100, 100]]], np.uint8)
    made = overlay(picture, np.array([[0, 1]], np.float32), strength=1)
    np.testing.assert_array_equal(made[0, 0], [10, 20, 30])
    red, _, blue = made[0, 1].astype(int)
    assert red > 240, "inferno ends in pale yellow"
    assert blue < red
    half = overlay(picture, np.array([[0, 1]], np.float32), strength=0.5)
    np.testing.assert_allclose(half[0, 1], (made[0, 1] + 100.0) / 2, atol=0.51)


def test_errors() -> None:
    with pytest.raises(UnknownNameError, match="no style named 'raww'; did you mean 'raw'"):
        show_diff(np.zeros((3, 1, 2), np.float32), BGR, "raww")
    with pytest.raises(ImageError, match="does not fit"):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2), np.float32))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_signed_is_red_above_and_blue_below_zero() -> None:
    made = show_diff(
        _diff((1, 0, 1), (-2, 0, 1), (0, 0, 0)), Preprocessor(shape=(3, 1, 3)), "signed"
    )
    # sums 2, -1, 0: full red, half the blue, white
    np.testing.assert_array_equal(made[0], [[178, 10, 28], [130, 160, 208], [255, 255, 255]])


def test_heat_shows_positive_sums_in_the_colors_of_fire() -> None:
    made = show_diff(_diff((1, 0, 1), (-2, 0, 1)), BGR, "heat")
    fire = cv2.applyColorMap(np.array([[255, 0]], np.uint8), cv2.COLORMAP_INFERNO)
    np.testing.assert_array_equal(made, fire[..., ::-1])

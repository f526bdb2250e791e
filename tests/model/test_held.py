"""Values of the inputs beside the image, against arrays written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.held import held_inputs

SHAPES = {"data": (4, 3, 6, 8), "mask": (4, 3, 6, 8), "code": (1, 2)}
IMAGES = np.arange(2 * 3 * 6 * 8, dtype=np.float32).reshape(2, 3, 6, 8)


def test_numbers_arrays_and_the_image_itself(tmp_path):
    np.save(tmp_path / "code.npy", np.array([[5, 7]]))
    for code in (np.array([5.0, 7.0]), tmp_path / "code.npy", str(tmp_path / "code.npy")):
        held = held_inputs(SHAPES, "data", {"mask": "image", "code": code})
        assert list(held) == ["mask", "code"]
        np.testing.assert_array_equal(held["mask"].for_images(IMAGES), IMAGES)
        values = held["code"].for_images(IMAGES)
        np.testing.assert_array_equal(values, [[5, 7], [5, 7]])
        assert values.dtype == np.float32
    assert [str(one) for one in held.values()] == [
        "input 'mask' holds the image",
        "input 'code' is held at code.npy",
    ]
    held = held_inputs(SHAPES, "mask", {"data": 2.5})
    np.testing.assert_array_equal(held["data"].for_images(IMAGES), np.full((2, 3, 6, 8), 2.5))
    np.testing.assert_array_equal(held["code"].for_images(IMAGES), np.zeros((2, 2)))
    assert [str(one) for one in held.values()] == [
        "input 'data' is held at 2.5",
        "input 'code' is held at 0",
    ]


def test_detectors_get_the_size_of_the_image_and_all_of_it():
    shapes = {"data": (1, 3, 6, 8), "im_info": (1, 3), "rois": (1, 5), "gt_boxes": (1, 5)}
    held = held_inputs(shapes, "data")
    np.testing.assert_array_equal(held["im_info"].for_images(IMAGES), [[6, 8, 1]] * 2)
    np.testing.assert_array_equal(
        held["rois"].for_images(IMAGES), [[0, 0, 0, 7, 5], [1, 0, 0, 7, 5]]
    )
    np.testing.assert_array_equal(held["gt_boxes"].for_images(IMAGES), np.zeros((2, 5)))
    assert str(held["im_info"]) == "input 'im_info' is held at 6, 8, 1"
    four = held_inputs({**shapes, "im_info": (1, 4)}, "data")
    np.testing.assert_array_equal(four["im_info"].array, [[6, 8, 1, 1]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mesk": 1}, "no input named 'mesk'; did you mean 'mask'"),
        ({"data": 1}, r"input 'data' is the image, .* image_input \(--image-input\)"),
        ({"code": "image"}, r"'code' has shape 1 x 2, .* 'data', of shape 1 x 3 x 6 x 8"),
        ({"code": np.zeros(3)}, r"'code' takes values of shape 2 for one image; got 3"),
        ({"code": np.array([1, np.nan])}, "'code': some of the values to hold it at are NaN"),
        ({"code": "absent.npy"}, r"cannot read absent\.npy, .* takes a number, 'image', or"),
    ],
)
def test_what_an_input_cannot_hold_is_refused(given, message):
    with pytest.raises((ModelError, UnknownNameError), match=message):
        held_inputs(SHAPES, "data", given)


def test_pickles_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(ModelError, match="cannot read"):
        held_inputs(SHAPES, "data", {"code": tmp_path / "x.npy"})

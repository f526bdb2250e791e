"""Means. Oracles: small arrays drawn by hand, and files written by numpy and by real Caffe."""

import numpy as np
import pytest

from deepvis_caffe.errors import ImageError
from deepvis_caffe.model.mean import crop_mean, load_mean
from deepvis_caffe.model.schema_pb2 import BlobProto

SHAPE = (3, 2, 2)

# 3 channels of 5 x 4; at size 2 x 2 the centre starts at row (5 - 2) // 2 = 1, column 1.
IMAGE = np.arange(60, dtype=np.float32).reshape(3, 5, 4)
CENTRE = np.array(
    [[[5, 6], [9, 10]], [[25, 26], [29, 30]], [[45, 46], [49, 50]]],
    np.float32,
)


def _mean(spec, shape):
    return crop_mean(load_mean(spec, shape[0]), *shape[1:])


def write_binaryproto(path, array, legacy):
    blob = BlobProto(data=array.ravel())
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = array.shape
    else:
        blob.shape.dim.extend(array.shape)
    path.write_bytes(blob.SerializeToString())
    return path


@pytest.mark.parametrize(
    "values", [(104, 117, 123), [104.0, 117.0, 123.0], np.array([104, 117, 123])]
)
def test_one_value_a_channel(values):
    expected = np.array([[[104]], [[117]], [[123]]], np.float32)
    got = _mean(values, SHAPE)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [33, 33.0, (33,), np.float64(33)])
def test_one_value_for_all_channels(value):
    np.testing.assert_array_equal(_mean(value, SHAPE), np.full((3, 1, 1), 33))


def test_no_mean_is_zero():
    np.testing.assert_array_equal(_mean(None, SHAPE), np.zeros((3, 1, 1)))


def test_npy_image_is_cropped_at_its_centre(tmp_path):
    np.save(tmp_path / "mean.npy", IMAGE.astype(np.float64))
    np.testing.assert_array_equal(_mean(tmp_path / "mean.npy", SHAPE), CENTRE)
    np.testing.assert_array_equal(_mean(str(tmp_path / "mean.npy"), SHAPE), CENTRE)
    np.testing.assert_array_equal(_mean(IMAGE, SHAPE), CENTRE)


def test_npy_of_one_value_a_channel(tmp_path):
    np.save(tmp_path / "mean.npy", np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(_mean(tmp_path / "mean.npy", SHAPE).ravel(), np.array([1, 2, 3]))


@pytest.mark.parametrize("legacy", [True, False])
def test_binaryproto(tmp_path, legacy):
    path = write_binaryproto(tmp_path / "mean.binaryproto", IMAGE[np.newaxis], legacy)
    np.testing.assert_array_equal(_mean(path, SHAPE), CENTRE)


def test_binaryproto_in_double_precision(tmp_path):
    blob = BlobProto(double_data=IMAGE.ravel())
    blob.shape.dim.extend(IMAGE.shape)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    np.testing.assert_array_equal(_mean(tmp_path / "mean.binaryproto", SHAPE), CENTRE)


@pytest.mark.parametrize("name", ["image.mean", "mean", "mean.npy", "mean.binaryproto"])
def test_a_file_is_what_it_holds_whatever_its_name(tmp_path, name):
    write_binaryproto(tmp_path / name, IMAGE[np.newaxis], legacy=True)
    np.testing.assert_array_equal(_mean(tmp_path / name, SHAPE), CENTRE)
    with (tmp_path / name).open("wb") as file:
        np.save(file, IMAGE)
    np.testing.assert_array_equal(_mean(tmp_path / name, SHAPE), CENTRE)


@pytest.mark.pycaffe
def test_binaryproto_that_real_caffe_wrote(caffe, tmp_path):
    blob = caffe.io.array_to_blobproto(IMAGE[np.newaxis])
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    np.testing.assert_array_equal(_mean(tmp_path / "mean.binaryproto", SHAPE), CENTRE)


def test_gray_mean_may_lack_the_channel_axis():
    np.testing.assert_array_equal(_mean(IMAGE[0], (1, 2, 2)), CENTRE[:1])


def test_exact_size_is_taken_whole():
    np.testing.assert_array_equal(_mean(IMAGE, (3, 5, 4)), IMAGE)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ((104, 117), r"has shape \(2,\).*3 channels, so expected \(3,\)"),
        (IMAGE.transpose(1, 2, 0), r"mean\.transpose\(2, 0, 1\)"),
        (IMAGE[:, :1], "1 x 4 pixels .* smaller than .* 2 x 2"),
        ((1.0, np.nan, np.inf), "holds 2 values that are NaN or infinite"),
        (("a", "b", "c"), "expected numbers"),
        ("none.npy", "no mean file at none.npy"),
    ],
)
def test_what_does_not_fit_is_a_clear_error(spec, words):
    with pytest.raises(ImageError, match=words):
        _mean(spec, SHAPE)


def test_too_small_a_mean_image_names_its_channel_values():
    with pytest.raises(ImageError, match=r"\(9\.5, 29\.5, 49\.5\)"):
        _mean(IMAGE, (3, 6, 6))


@pytest.mark.parametrize("suffix", [".npy", ".binaryproto"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n junk", b"\x93NUMPY\x01\x00"])
def test_damaged_files_give_clear_errors(tmp_path, suffix, content):
    path = tmp_path / f"mean{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"mean{suffix} is (damaged, or )?neither"):
        _mean(path, SHAPE)


def test_a_pickle_is_refused(tmp_path):
    np.save(tmp_path / "mean.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="damaged"):
        _mean(tmp_path / "mean.npy", SHAPE)

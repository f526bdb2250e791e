"""`deepvis_caffe.caffe.io`. Oracles: real pycaffe, and scikit-image, which reads images for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage
import skimage.io
import tifffile
from PIL import Image
from skimage import transform

import deepvis_caffe.caffe.io as ours
from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import ImageError, UnknownNameError

RNG = np.random.default_rng(0)
SHAPE = (1, 3, 8, 10)


def photo(*shape: int) -> np.ndarray:
    return RNG.uniform(0.1, 0.9, shape).astype(np.float32)


# -- load_image ------------------------------------------------------------------------------------


def write(path: Path, kind: str) -> Path:
    """An image file of that kind."""
    channels = {"gray": (), "gray16": (), "la": (2,), "rgba": (4,)}.get(kind, (3,))
    levels = RNG.integers(0, 65536 if "16" in kind else 256, (7, 9, *channels))
    if kind == "rgb16" and path.suffix == ".tif":
        tifffile.imwrite(path, levels.astype(np.uint16), photometric="rgb")
    elif "16" in kind:
        cv2.imwrite(str(path), levels.astype(np.uint16))
    else:
        image = Image.fromarray(levels.astype(np.uint8))
        exif = Image.Exif()
        if kind == "turned":
            exif[0x0112] = 6
        (image.convert("P") if kind == "palette" else image).save(path, exif=exif, quality=95)
    return path


KINDS = ["rgb.png", "gray.png", "rgba.png", "gray16.png", "rgb.jpg", "gray.jpg"]
KINDS += ["la.png", "la.tif", "turned.jpg", "palette.png", "rgb.bmp", "rgb16.tif"]


@pytest.mark.parametrize("name", KINDS)
def test_load_image_in_color(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, name.partition(".")[0])
    wanted = skimage.img_as_float(skimage.io.imread(path)).astype(np.float32)
    if wanted.ndim == 2 or wanted.shape[2] == 2:
        wanted = np.stack([wanted.reshape(7, 9, -1)[..., 0]] * 3, axis=2)
    loaded = ours.load_image(path)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, wanted[..., :3])


@pytest.mark.parametrize("name", KINDS)
def test_load_image_in_gray(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, name.partition(".")[0])
    wanted = skimage.img_as_float(skimage.io.imread(path))
    if wanted.ndim == 3:
        few = wanted.shape[2] == 2
        wanted = wanted[..., 0] if few else skimage.color.rgb2gray(wanted[..., :3])
    loaded = ours.load_image(str(path), color=False)
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, wanted[..., np.newaxis], atol=2e-7)


def test_load_image_from_an_open_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rgb.png", "rgb")
    loaded = ours.load_image(io.BytesIO(path.read_bytes()))
    np.testing.assert_array_equal(loaded, np.float32(skimage.io.imread(path) / 255))


@pytest.mark.parametrize("error", [ImageError, OSError])
def test_no_image_there(tmp_path: Path, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"no image at .*gone\.jpg: there is no such file"):
        ours.load_image(tmp_path / "gone.jpg")


def test_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(OSError, match=r"a\.jpg: it starts with b'no image'"):
        ours.load_image(tmp_path / "a.jpg")
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    with pytest.raises(OSError, match="it contains numpy arrays"):
        ours.load_image(tmp_path / "a.npy")


# -- resizing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(6, 5), (31, 40), (20, 9), (13, 17)])
def test_resize_image_is_scikit_images(size: tuple[int, int], channels: int, order: int) -> None:
    image = 255 * photo(13, 17, channels)
    low, high = image.min(), image.max()
    levels = (image - low) / (high - low)
    resized = transform.resize(levels, size, order, mode="constant", anti_aliasing=False)
    np.testing.assert_allclose(
        ours.resize_image(image, size, order), resized * (high - low) + low, atol=1e-4
    )


def test_resize_image_of_bytes() -> None:
    image = RNG.integers(0, 256, (9, 8, 3)).astype(np.uint8)
    resized = ours.resize_image(image, (5, 12))
    np.testing.assert_allclose(resized, ours.resize_image(image.astype(float), (5, 12)), atol=1e-4)


@pytest.mark.pycaffe
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_resize_image_is_pycaffes(real: Any, channels: int) -> None:
    image = photo(13, 17, channels)
    for size in [(6, 5), (31, 40), (20, 9)]:
        np.testing.assert_allclose(
            ours.resize_image(image, size), real.io.resize_image(image, size), atol=1e-6
        )


@pytest.mark.pycaffe
def test_resize_image_of_one_value(real: Any) -> None:
    image = np.full((4, 5, 3), 0.25, np.float32)
    resized = ours.resize_image(image, (6, 7))
    np.testing.assert_array_equal(resized, real.io.resize_image(image, (6, 7)))
    np.testing.assert_array_equal(resized, np.full((6, 7, 3), 0.25))


@pytest.mark.parametrize("shape", [(4, 5), (0, 5, 3), (2, 4, 5, 3)])
def test_what_cannot_be_resized(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"cannot resize an image of shape \("):
        ours.resize_image(np.zeros(shape, np.float32), (3, 3))


def test_resize_does_not_smooth() -> None:
    image = RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    wanted = transform.resize(image, (9, 11), mode="constant", anti_aliasing=False)
    np.testing.assert_array_equal(ours.resize(image, (9, 11)), wanted)
    wanted = transform.resize(image, (3, 50, 50), mode="edge", anti_aliasing=False)
    np.testing.assert_array_equal(ours.resize(image, (3, 50, 50), mode="edge"), wanted)


# -- oversample ------------------------------------------------------------------------------------


@pytest.mark.pycaffe
@pytest.mark.parametrize("crop", [(5, 6), (4, 4), (9, 12)])
def test_oversample_is_pycaffes(real: Any, crop: tuple[int, int]) -> None:
    images = [photo(9, 12, 2) for _ in range(3)]
    np.testing.assert_array_equal(ours.oversample(images, crop), real.io.oversample(images, crop))


def test_oversample_of_a_row_of_pixels() -> None:
    (row,) = np.arange(4.0).reshape(1, 1, 4, 1)
    crops = ours.oversample([row], (1, 2))[:, 0, :, 0]
    ten = [[0, 1], [2, 3], [0, 1], [2, 3], [1, 2], [1, 0], [3, 2], [1, 0], [3, 2], [2, 1]]
    np.testing.assert_array_equal(crops, ten)


def test_crops_larger_than_the_image() -> None:
    with pytest.raises(ValueError, match="cannot crop 5 x 3 from images of 4 x 4 pixels"):
        ours.oversample([photo(4, 4, 3)], (5, 3))


# -- Transformer -----------------------------------------------------------------------------------

Settings = Callable[[Any], None]


def usual(t: Any) -> None:
    t.set_transpose("data", (2, 0, 1))
    t.set_mean("data", np.array([0.4, 0.5, 0.6]))
    t.set_raw_scale("data", 255)
    t.set_channel_swap("data", (2, 1, 0))
    t.set_input_scale("data", 0.017)


def mean_image(t: Any) -> None:
    t.set_transpose("data", (2, 0, 1))
    t.set_mean("data", np.arange(240.0).reshape(3, 8, 10))


def larger_mean(t: Any) -> None:
    t.set_transpose("data", (2, 0, 1))
    t.set_mean("data", np.sin(np.arange(3 * 16 * 16)).reshape(3, 16, 16))


def other_order(t: Any) -> None:
    t.set_transpose("data", [2, 1, 0])
    t.set_channel_swap("data", [1, 2, 0])


@pytest.mark.pycaffe
@pytest.mark.parametrize("size", [(8, 10), (15, 12), (4, 6)])
@pytest.mark.parametrize("settings", [usual, mean_image, larger_mean, other_order, id])
def test_a_transformer_does_what_pycaffes_does(
    real: Any, settings: Settings, size: tuple[int, int]
) -> None:
    mine, theirs = ours.Transformer({"data": SHAPE}), real.io.Transformer({"data": SHAPE})
    settings(mine)
    settings(theirs)
    image = photo(*size, 3)
    result, wanted = (one.preprocess("data", image.copy()) for one in (mine, theirs))
    assert result.dtype == wanted.dtype == np.float32
    np.testing.assert_allclose(result, wanted, rtol=1e-5, atol=1e-5)
    for blob in (wanted, wanted[np.newaxis]):
        np.testing.assert_allclose(
            mine.deprocess("data", blob), theirs.deprocess("data", blob), rtol=1e-5, atol=1e-5
        )


@pytest.mark.pycaffe
@pytest.mark.parametrize("swapped", [False, True])
def test_an_image_is_changed_in_place_where_pycaffe_changes_it(real: Any, swapped: bool) -> None:
    image = photo(8, 10, 3)
    after = []
    for module in (ours, real.io):
        transformer = module.Transformer({"data": SHAPE})
        transformer.set_transpose("data", (2, 0, 1))
        transformer.set_raw_scale("data", 255)
        if swapped:
            transformer.set_channel_swap("data", (2, 1, 0))
        given = image.copy()
        transformer.preprocess("data", given)
        after.append(given)
    np.testing.assert_array_equal(*after)
    assert (after[0] == image).all() == swapped


def test_a_gray_image_there_and_back() -> None:
    transformer = ours.Transformer({"data": [1, 1, 8, 10]})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_mean("data", np.full((8, 10), 0.5))
    transformer.set_raw_scale("data", 2)
    image = photo(8, 10, 1)
    blob = transformer.preprocess("data", image.copy())
    np.testing.assert_allclose(blob, 2 * image.transpose(2, 0, 1) - 0.5, rtol=1e-6)
    np.testing.assert_allclose(transformer.deprocess("data", blob[np.newaxis]), image, rtol=1e-6)


def test_what_has_been_set_can_be_read_and_changed() -> None:
    transformer = ours.Transformer({"data": SHAPE})
    usual(transformer)
    np.testing.assert_array_equal(transformer.mean["data"][:, 0, 0], [0.4, 0.5, 0.6])
    assert (transformer.raw_scale, transformer.input_scale) == ({"data": 255}, {"data": 0.017})
    assert (transformer.transpose["data"], transformer.channel_swap["data"]) == (
        (2, 0, 1),
        (2, 1, 0),
    )
    transformer.mean["data"] = 3
    transformer.raw_scale.clear()
    transformer.input_scale.clear()
    image = photo(8, 10, 3)
    blob = transformer.preprocess("data", image.copy())
    np.testing.assert_allclose(blob, image.transpose(2, 0, 1)[::-1] - 3, rtol=1e-6)


def test_a_mean_image_of_one_value_stays_it_when_resized() -> None:
    transformer = ours.Transformer({"data": SHAPE})
    transformer.set_mean("data", np.full((3, 4, 4), 7.5))
    np.testing.assert_array_equal(transformer.mean["data"], np.full((3, 8, 10), 7.5))


@pytest.mark.pycaffe
@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("set_transpose", (1, 0)),
        ("set_channel_swap", (1, 0)),
        ("set_mean", np.zeros(4)),
        ("set_mean", np.zeros((1, 3, 8, 10))),
        ("set_mean", np.arange(20.0).reshape(4, 5)),
    ],
)
def test_what_pycaffe_refuses(real: Any, method: str, value: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 it is pycaffe's
        getattr(real.io.Transformer({"data": SHAPE}), method)("data", value)
    with pytest.raises(type(theirs.value)) as mine:
        getattr(ours.Transformer({"data": SHAPE}), method)("data", value)
    assert isinstance(mine.value, ImageError)
    assert str(value if isinstance(value, tuple) else len(value)) in str(mine.value)


def test_an_input_that_is_not_there() -> None:
    transformer = ours.Transformer({"data": SHAPE})
    with pytest.raises(UnknownNameError, match=r"no net input named 'dat'.*known: data"):
        transformer.set_raw_scale("dat", 255)
    with pytest.raises(UnknownNameError, match=r"no net input named 'dat'.*known: data"):
        transformer.preprocess("dat", photo(8, 10, 3))


def test_an_image_without_channels() -> None:
    transformer = ours.Transformer({"data": (1, 1, 8, 10)})
    transformer.set_transpose("data", (2, 0, 1))
    with pytest.raises(ValueError, match=r"got shape \(8, 10\), expected 3 axes; a gray image"):
        transformer.preprocess("data", photo(8, 10))


# -- protocol buffers ------------------------------------------------------------------------------


def same_bytes(mine: Any, theirs: Any) -> None:
    assert mine.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


@pytest.mark.pycaffe
def test_arrays_to_blobs_and_back(real: Any) -> None:
    array, gradient = photo(2, 3, 4), photo(2, 3, 4)
    for arguments in [(array,), (array, gradient), (np.float32(3),)]:
        mine, theirs = ours.array_to_blobproto(*arguments), real.io.array_to_blobproto(*arguments)
        same_bytes(mine, theirs)
        back = ours.blobproto_to_array(mine)
        assert back.dtype == np.float64
        np.testing.assert_array_equal(back, real.io.blobproto_to_array(theirs))
        if len(arguments) == 2:
            np.testing.assert_array_equal(ours.blobproto_to_array(mine, return_diff=True), gradient)


@pytest.mark.pycaffe
def test_legacy_blobs(real: Any) -> None:
    array = photo(1, 1, 5, 4)
    blob = caffe_pb2.BlobProto(num=1, channels=1, height=5, width=4, data=array.flat)
    np.testing.assert_array_equal(ours.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(real.io.blobproto_to_array(blob), array)


def test_blobs_of_doubles() -> None:
    blob = caffe_pb2.BlobProto(double_data=[1 / 3, 2 / 3])
    blob.shape.dim.append(2)
    np.testing.assert_array_equal(ours.blobproto_to_array(blob), [1 / 3, 2 / 3])


@pytest.mark.pycaffe
def test_a_blob_whose_values_do_not_fill_its_shape(real: Any) -> None:
    blob = caffe_pb2.BlobProto(data=np.zeros(20))
    with pytest.raises(ValueError, match="holds 20 values, which do not fit shape"):
        ours.blobproto_to_array(blob)
    with pytest.raises(ValueError, match="cannot reshape"):
        real.io.blobproto_to_array(blob)


@pytest.mark.pycaffe
def test_lists_of_arrays(real: Any) -> None:
    arrays = [photo(2, 3), photo(4)]
    text = ours.arraylist_to_blobprotovector_str(arrays)
    assert text == real.io.arraylist_to_blobprotovector_str(arrays)
    for back, array in zip(ours.blobprotovector_str_to_arraylist(text), arrays, strict=True):
        np.testing.assert_array_equal(back, array)


@pytest.mark.pycaffe
@pytest.mark.parametrize("label", [None, 0, 7])
def test_float_datums(real: Any, label: int | None) -> None:
    array = photo(2, 3, 4)
    datum = ours.array_to_datum(array, label)
    same_bytes(datum, real.io.array_to_datum(array, label))
    back = ours.datum_to_array(datum)
    np.testing.assert_array_equal(back, real.io.datum_to_array(datum))
    assert back.dtype == np.float64


def test_datums_of_bytes() -> None:
    array = RNG.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    datum = ours.array_to_datum(array, 3)
    wanted = caffe_pb2.Datum(channels=3, height=4, width=5, data=array.tobytes(), label=3)
    assert datum == wanted
    back = ours.datum_to_array(datum)
    np.testing.assert_array_equal(back, array)
    back += np.uint8(1)  # writable, as the array that numpy's fromstring once gave
    assert back.dtype == np.uint8


def test_datums_that_hold_no_array() -> None:
    with pytest.raises(ValueError, match=r"array shape: got \(4, 5\), expected \(channels"):
        ours.array_to_datum(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="an encoded image"):
        ours.datum_to_array(caffe_pb2.Datum(encoded=True, data=b"\xff\xd8\xff"))


def test_names_that_scripts_take_from_here() -> None:
    assert ours.caffe_pb2 is caffe_pb2
    assert ours.np is np
    assert ours.skimage.io.imread is skimage.io.imread
    with pytest.raises(AttributeError, match="has no attribute 'imread'"):
        _ = ours.imread

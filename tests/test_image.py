"""Reading and writing pictures. Oracles: pixels made by hand, and files encoded by other code."""

import struct
import sys

import cv2
import numpy as np
import pytest
from skimage import data as skimage_data

from deepvis_caffe.errors import ImageError, UnknownNameError
from deepvis_caffe.image import read_image, resize_image, sample_image, sample_images, write_image

# A 2 x 3 picture whose six pixels all differ, RGB.
PIXELS = np.array(
    [
        [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        [[9, 8, 7], [60, 50, 40], [255, 254, 250]],
    ],
    np.uint8,
)


def png(array):
    """An encoder that knows nothing of ours: channels as OpenCV wants them."""
    return cv2.imencode(".png", array)[1].tobytes()


def test_reads_rgb_from_a_path_and_from_bytes(tmp_path):
    content = png(PIXELS[..., ::-1])
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(read_image(content), PIXELS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), PIXELS)


def test_gray_becomes_three_equal_channels():
    gray = np.array([[0, 100, 255]], np.uint8)
    np.testing.assert_array_equal(read_image(png(gray)), np.stack([gray] * 3, axis=2))


def test_alpha_is_dropped():
    rgba = np.dstack([PIXELS[..., ::-1], np.full((2, 3), 7, np.uint8)])
    np.testing.assert_array_equal(read_image(png(rgba)), PIXELS)


def test_16_bit_keeps_the_upper_8_bits():
    deep = PIXELS[..., ::-1].astype(np.uint16) * 256
    np.testing.assert_array_equal(read_image(png(deep)), PIXELS)


def test_exif_orientation_is_applied():
    # Left half black, right half white; orientation 6 says: turn it a quarter clockwise to show it.
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, 16:] = 255
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    shown = read_image(turned)
    assert shown.shape == (32, 16, 3)
    assert shown[:12].max() < 30
    assert shown[20:].min() > 225


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "damaged or in a format"),
        (png(PIXELS)[:40], "damaged"),
    ],
)
def test_what_is_not_a_picture_is_a_clear_error(tmp_path, content, words):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ImageError, match=words) as caught:
        read_image(tmp_path / "bad.png")
    assert "bad.png" in str(caught.value)


def test_a_missing_file_and_a_folder_give_clear_errors(tmp_path):
    with pytest.raises(ImageError, match=r"no image at .*none\.png: there is no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot read the image"):
        read_image(tmp_path)


def test_png_is_written_exactly_and_folders_are_made(tmp_path):
    path = write_image(tmp_path / "new" / "deep" / "a.png", PIXELS)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], PIXELS)
    write_image(path, PIXELS[..., 0])
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), PIXELS[..., 0])


def test_jpeg_is_near_and_better_at_higher_quality(tmp_path):
    picture = sample_image("coffee")
    errors = []
    for quality in (30, 95):
        path = write_image(tmp_path / "a.jpg", picture, quality)
        read = cv2.imread(str(path))[..., ::-1].astype(float)
        errors.append(np.abs(read - picture).mean())
    assert errors[1] < errors[0] < 8
    assert errors[1] < 3


def test_an_interrupted_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = write_image(tmp_path / "a.png", PIXELS)
    before = path.read_bytes()

    def broken(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    with pytest.raises(ImageError, match="No space left"):
        write_image(path, PIXELS[::-1])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_an_unwritable_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="choose another folder"):
        write_image(tmp_path / "file" / "a.png", PIXELS)


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("a.gif", PIXELS, r"must end in \.png"),
        ("a.png", PIXELS.astype(float), "got float64"),
        ("a.png", PIXELS[..., :2], r"shape \(2, 3, 2\)"),
        ("a.png", PIXELS[:0], "no pixels"),
    ],
)
def test_what_cannot_be_written_is_a_clear_error(tmp_path, name, image, words):
    with pytest.raises(ImageError, match=words):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_shrinking_averages_whole_blocks():
    image = np.random.default_rng(0).random((9, 8), np.float32)
    blocks = image.reshape(3, 3, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_image(image, 3, 2), blocks, rtol=1e-6)


def test_shrinking_one_axis_and_growing_the_other():
    # Rows are averaged in pairs; columns are interpolated between the pixels' centres.
    image = np.array([[0, 8], [4, 12]], np.float32)
    np.testing.assert_allclose(resize_image(image, 1, 4), [[2, 4, 8, 10]])


def test_many_channels_are_each_resized_alone():
    image = np.random.default_rng(0).random((9, 7, 11), np.float32)
    each = np.stack([resize_image(image[..., c], 5, 12) for c in range(11)], axis=2)
    # OpenCV 4 rounds the last bit of many channels in another way than of one.
    np.testing.assert_allclose(resize_image(image, 5, 12), each, rtol=3e-7)
    np.testing.assert_array_equal(resize_image(image[..., :1], 5, 12), each[..., :1])


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_samples_are_scikit_images_own(name):
    assert name in sample_images()
    np.testing.assert_allclose(
        sample_image(name).astype(int), getattr(skimage_data, name)(), atol=2
    )  # JPEG decoders differ by a level or two


def test_an_unknown_sample_names_the_near_one():
    with pytest.raises(UnknownNameError, match="did you mean 'chelsea'"):
        sample_image("chelsey")


@pytest.mark.process
def test_opencv_is_imported_only_when_it_is_used():
    import subprocess

    code = "import sys, deepvis_caffe.image; print('cv2' in sys.modules, 'skimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

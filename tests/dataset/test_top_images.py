"""The crops show a pattern planted in large pictures, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, load_text, net_text, relu

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.dataset.top_images import unit_examples
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import read_image, write_image

# An input of 20 x 20 from pictures of 200 x 260: a pixel of the input is 10 of the picture.
STEP = 10
PATTERN = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    """Unit 0 answers to an X of three by three white pixels, unit 1 to nothing."""
    text = net_text(
        conv("find", "data", 2, 3, "pad: 1 stride: 2"), relu("relu", "find"), data=(1, 3, 20, 20)
    )
    match = np.where(PATTERN, 1.0, -1.0) / 255
    weights = np.stack([np.stack([match] * 3), np.zeros((3, 3, 3))])
    return load_text(engine, tmp_path, text, arrays(find=(weights, [-2, -1])), mean=0)


def plant(folder: Path, name: str, row: int, column: int, level: int) -> None:
    """An X in a black picture, its corner at that pixel of the input."""
    picture = np.zeros((200, 260, 3), np.uint8)
    large = np.kron(PATTERN, np.ones((STEP, STEP)))[..., None] * level
    top, left = row * STEP, 30 + column * STEP
    picture[top : top + 30, left : left + 30] = large
    write_image(folder / f"{name}.png", picture)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    # With padding of 1 and stride 2, windows start at odd pixels of the input, from -1.
    plant(folder, "second", 7, 11, 220)
    plant(folder, "first", 13, 3, 250)
    plant(folder, "third", 5, 5, 200)
    write_image(folder / "none.png", np.zeros((200, 260, 3), np.uint8))
    return folder


@pytest.mark.parametrize("modes", [(), ("deconv", "gradient", "guided")])
def test_crops_show_what_was_planted_where_it_was(
    net: Net, folder: Path, modes: tuple[str, ...]
) -> None:
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(("find",), 4))
    examples = unit_examples(net, source, scan, "find", 0, modes)
    assert [one.name for one in examples] == ["first.png", "second.png", "third.png"]
    for one, (row, column, level) in zip(
        examples, [(13, 3, 250), (7, 11, 220), (5, 5, 200)], strict=True
    ):
        assert one.value == pytest.approx(15 * level / 255 - 2, rel=1e-5)
        assert one.place == ((row + 1) // 2, (column + 1) // 2)
        assert one.box == (row, column, row + 3, column + 3)
        top, left = row * STEP, 30 + column * STEP
        assert one.picture_box == (top, left, top + 30, left + 30)
        expected = np.kron(PATTERN, np.ones((STEP, STEP))) * level
        np.testing.assert_array_equal(one.crop[..., 0], expected)
        assert set(one.diffs) == set(modes)
        for diff in one.diffs.values():  # the weights themselves: white where white helps
            np.testing.assert_array_equal(diff[..., 0], np.where(PATTERN, 255, 0))


def test_a_camera_s_jpeg_is_read_smaller_and_cut_from_the_whole(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "camera"
    plant(folder, "photo", 7, 11, 220)
    file = folder / "photo.jpg"
    write_image(file, read_image(folder / "photo.png"))
    (folder / "photo.png").unlink()
    source = open_source(folder)
    assert source.read_small(0, 60).shape == (100, 130, 3)
    with monkeypatch.context() as without:
        without.delattr(type(source), "read")
        scan = scan_images(net, source, ScanParams(("find",), 1))
    (one,) = unit_examples(net, source, scan, "find", 0)  # reads it as the scan did, or raises
    assert one.value == pytest.approx(15 * 220 / 255 - 2, rel=0.02)
    assert one.picture_box == (70, 140, 100, 170)
    np.testing.assert_array_equal(one.crop, read_image(file)[70:100, 140:170])


def test_at_the_border_crops_keep_their_size_and_are_gray_outside(net: Net, tmp_path: Path) -> None:
    folder = tmp_path / "border"
    picture = np.zeros((200, 260, 3), np.uint8)
    picture[:, :30] = 77  # outside of the square that the net is shown
    picture[0:10, 30:40] = 255  # the middle of the pattern, at the corner
    picture[10:20, 40:50] = 255
    write_image(folder / "corner.png", picture)
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(("find",), 1))
    (one,) = unit_examples(net, source, scan, "find", 0, ["deconv"])
    assert one.place == (0, 0)
    assert one.box == (-1, -1, 2, 2)
    assert one.picture_box == (-10, 20, 20, 50)
    expected = np.full((30, 30), 128)
    expected[10:, 10:] = picture[:20, 30:50, 0]
    np.testing.assert_array_equal(one.crop[..., 0], expected)
    assert (one.diffs["deconv"][0] == 128).all()
    assert (one.diffs["deconv"][1:, 1:, 0] == [[255, 0], [0, 255]]).all()


def test_silent_units_have_no_examples(net: Net, folder: Path) -> None:
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(("find",), 4))
    assert unit_examples(net, source, scan, "find", 1) == []


def test_an_image_that_has_changed_is_found_out(net: Net, folder: Path) -> None:
    source = open_source(folder)
    scan = scan_images(net, source, ScanParams(("find",), 4))
    plant(folder, "second", 7, 11, 230)
    with pytest.raises(
        ImageError, match=r"second.png gives find unit 0 the activation 11.5.* 10.9"
    ):
        unit_examples(net, source, scan, "find", 0)
    (folder / "second.png").unlink()
    with pytest.raises(ImageError, match=r"second.png can no longer be read"):
        unit_examples(net, source, scan, "find", 0)
    with pytest.raises(ImageError, match=r"second.png, a top image .* is missing"):
        unit_examples(net, open_source(folder), scan, "find", 0)
    assert read_image(folder / "first.png").shape == (200, 260, 3)

"""`dv.top_images` against a forward pass of every image, and the command's files."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import small_model
from helpers.commands import deepvis
from helpers.results_folder import files

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.jobs.find_top_images import UnitTopImages
from deepvis_caffe.settings import load_settings

_, HEIGHT, WIDTH = small_model.INPUT
COUNT = 3


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Of the net's own size, so that a crop is a slice."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(6)]


@pytest.fixture
def photos(pictures: list[Picture], tmp_path: Path) -> Path:
    for number, picture in enumerate(pictures):
        write_image(tmp_path / "photos" / f"{number}.png", picture)
    return tmp_path / "photos"


def test_they_are_those_of_a_forward_pass_of_every_image(
    net: Net, pictures: list[Picture], photos: Path
) -> None:
    x = np.stack([net.preprocessor(one) for one in pictures])
    values = net.forward(x, ["conv/1", "fc"])
    named = {f"{number} of them": one for number, one in enumerate(pictures)}
    files = sorted(photos.iterdir())
    for images in (photos, str(photos), dv.open_source(photos), pictures, files, named):
        found = dv.top_images(net, images, ["conv/1", "fc"], count=COUNT)
        for layer, every in values.items():
            maps = every.reshape(len(x), every.shape[1], -1)
            for unit in range(every.shape[1]):
                top = found[layer, unit]
                order = np.argsort(-maps[:, unit].max(axis=1))[:COUNT]
                best = [one for one in order if maps[one, unit].max() > min(0, maps[:, unit].min())]
                np.testing.assert_allclose(
                    [one.value for one in top], maps[best, unit].max(axis=1), rtol=1e-4
                )
                for one, number in zip(top, best, strict=True):
                    np.testing.assert_array_equal(one.crop, _seen(pictures[number], one.place))


def _seen(picture: Picture, place: tuple[int, ...]) -> Picture:
    """conv/1 has a kernel of 3 and a stride of 2; fc sees everything."""
    if not place:
        return picture
    y, x = place
    return picture[2 * y : 2 * y + 3, 2 * x : 2 * x + 3]


def test_the_record_of_an_image(net: Net, photos: Path) -> None:
    found = dv.top_images(net, photos, "conv/1")
    one = found[2][0]
    assert one.file == photos / one.name
    assert one.box == one.picture_box
    top, left, bottom, right = one.box
    np.testing.assert_array_equal(one.crop, dv.read_image(one.file)[top:bottom, left:right])


def test_files_are_the_commands(photos: Path, tmp_path: Path) -> None:
    settings = small_model.write_model(tmp_path)
    net = dv.load_net(load_settings(settings))
    deepvis(
        *("top-images", "--settings", str(settings), "--images", str(photos)),
        *("--layers", "conv/1,fc", "--top", str(COUNT), "--units", "0,3"),
        *("--out", str(tmp_path / "command")),
    )
    expected = files(tmp_path / "command")
    assert any("max_im" in name for name in expected)
    how = {"layers": ["conv/1", "fc"], "units": [0, 3], "count": COUNT}
    dv.top_images(net, photos, **how, results=tmp_path / "direct")
    assert files(tmp_path / "direct") == expected
    dv.top_images(net, photos, **how).save(tmp_path / "later")
    assert files(tmp_path / "later") == expected


def test_the_same_call_reads_what_is_there(
    net: Net, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dv.top_images(net, photos, "conv/1", count=COUNT, results=tmp_path / "out")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.jpg")}
    monkeypatch.setattr(type(net), "reduce", _none)  # what a scan calls
    after = dv.top_images(net, photos, "conv/1", count=COUNT, results=tmp_path / "out")
    assert [one.value for one in after[1]] == [one.value for one in before[1]]
    assert {path: path.stat().st_mtime_ns for path in written} == written


def _none(*arguments: object, **more: object) -> None:
    raise AssertionError("images were scanned again")


def test_other_pictures_of_the_same_shape_are_other_results(
    net: Net, pictures: list[Picture], tmp_path: Path
) -> None:
    found = dv.top_images(net, pictures, "fc", results=tmp_path)
    changed = [255 - pictures[0], *pictures[1:]]
    with pytest.raises(dv.SettingsError, match="other images"):
        dv.top_images(net, changed, "fc", results=tmp_path)
    other = dv.top_images(net, changed, "fc", results=tmp_path, overwrite=True)
    assert [one.value for one in other[0]] != [one.value for one in found[0]]


def test_a_notebook_shows_them(net: Net, pictures: list[Picture]) -> None:
    found = dv.top_images(net, pictures, "fc", units=["bee", 0], count=COUNT, modes=[])
    shown = re.findall('<img alt="([^"]*)"', found._repr_html_())
    assert shown == ["fc unit 1 (bee)", "fc unit 0 (ant)"]
    assert found["honey bee"].unit == 1
    silent = UnitTopImages((), "fc", 3, "<b>, c")
    assert silent._repr_html_() == "<p>fc unit 3 (&lt;b&gt;): no image activates it</p>"
    assert silent._repr_png_() is None


def test_images_that_cannot_be_used_are_named(
    net: Net, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG and no more")
    with caplog.at_level(logging.WARNING):
        found = dv.top_images(net, photos, "fc")
    assert [name for name, _ in found.scan.skipped] == ["broken.png"]
    assert "1 of 7 images could not be used" in caplog.text


def test_errors(net: Net, pictures: list[Picture], tmp_path: Path) -> None:
    found = dv.top_images(net, pictures, ["conv/1", "fc"])
    for key, words in (
        (0, "several layers were scanned"),
        (("prob", 0), "not among the scanned layers: conv/1, fc"),
        (("conv/1", 5), "it has 5, numbered 0 to 4"),
        (("conv/1", "bee"), "these units have no names"),
    ):
        with pytest.raises(dv.SettingsError, match=words):
            found[key]
    with pytest.raises(dv.UnknownNameError, match="did you mean 'bee'"):
        found["fc", "bea"]
    for images, words in (
        ([], "empty"),
        ([tmp_path / "gone.png"], "image 0 of the list: there is no file"),
        ([pictures[0], np.zeros(5)], "image 1 of the list"),
        (tmp_path / "gone", "no images at"),
    ):
        with pytest.raises(dv.ImageError, match=words):
            dv.top_images(net, images, "fc")
    with pytest.raises(dv.UnknownNameError, match="fc9"):
        dv.top_images(net, pictures, "fc9")

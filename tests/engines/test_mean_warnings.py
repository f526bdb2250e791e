"""Warnings about the mean when a net is loaded: once, and only for implausible ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_model

import deepvis_caffe as dv


def load(folder: Path, mean: object = None, **how: object) -> dv.Net:
    files = folder / "small.prototxt", folder / "small.caffemodel"
    return dv.load_net(*files, engine="torch", mean=mean, **how)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_model.write_model(tmp_path)
    return tmp_path


def test_a_missing_mean_is_reported_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(folder)
    load(folder)
    assert caplog.text.count("no mean is set") == 1


@pytest.mark.parametrize(
    ("mean", "raw_scale", "words"),
    [
        ((0.4, 0.4, 0.4), 255, "as for images in 0..1, but raw_scale is 255"),
        ((104, 117, 123), 1, "as for images in 0..255, but raw_scale is 1"),
        ((104, 117, 1104), 255, "up to 1104, brighter than white, which is 255"),
    ],
)
def test_a_mean_of_another_range(
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    mean: tuple[float, ...],
    raw_scale: float,
    words: str,
) -> None:
    load(folder, mean, raw_scale=raw_scale)
    load(folder, mean, raw_scale=raw_scale)
    assert caplog.text.count(words) == 1


@pytest.mark.parametrize(
    ("mean", "raw_scale"),
    [((104, 117, 123), 255), ((0.4, 0.4, 0.4), 1), (0, 255), (None, 1), ((0, 0, 255), 255)],
)
def test_a_mean_that_may_be_right(
    folder: Path, caplog: pytest.LogCaptureFixture, mean: object, raw_scale: float
) -> None:
    load(folder, mean, raw_scale=raw_scale)
    assert "mean" not in caplog.text


def test_a_net_that_shifts_its_image_itself(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (folder / "small.prototxt").read_text()
    assert text.count('bottom: "data"') == 1
    text = text.replace('bottom: "data"', 'bottom: "shifted"')
    before, found, after = text.partition('layer { name: "conv/1"')
    assert found
    power = 'layer { name: "shift" type: "Power" bottom: "data" top: "shifted" }\n'
    (folder / "small.prototxt").write_text(before + power + found + after)
    load(folder)
    assert "mean" not in caplog.text

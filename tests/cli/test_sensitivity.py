"""`deepvis sensitivity` end to end on a small model."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import small_model
from helpers.image_sets import slow_pass, write_folder
from typer.testing import CliRunner, Result

import deepvis_caffe as dv
from deepvis_caffe.cli.main import app
from deepvis_caffe.image import read_image


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its settings and images, as the current one."""
    small_model.write_model(tmp_path)
    write_folder(tmp_path / "images", 5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    return tmp_path


def _deepvis(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["sensitivity", *arguments])
    assert result.exit_code == code, result.output
    return result


def _table(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["layer"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_frames_are_compared_as_a_slow_loop_does(folder: Path) -> None:
    result = _deepvis("images", "--frames")
    assert "each frame to the next, 4 pairs; spread over 5 images" in result.output
    assert "not a set of different images" in result.output
    table = _table(folder / "out" / "sensitivity" / "images.csv")
    assert list(table) == ["conv/1", "fc", "prob"]
    net = dv.load_net("small.prototxt", "small.caffemodel", engine="torch", mean=small_model.MEAN)
    for name, row in table.items():
        _, values = slow_pass(net, folder / "images", name)
        values = values.astype(float)
        moved = np.abs(np.diff(values, axis=0)).mean(axis=2)
        spread = values.transpose(1, 0, 2).reshape(values.shape[1], -1).std(axis=1)
        pairs = (moved[:, spread > 0] / spread[spread > 0]).mean(axis=1)
        assert float(row["mean"]) == pytest.approx(pairs.mean(), rel=1e-3)
        assert float(row["low"]) == pytest.approx(np.percentile(pairs, 10), rel=1e-3)
        assert float(row["highest"]) == pytest.approx(pairs.max(), rel=1e-3)
        assert int(row["constant"]) == (spread == 0).sum()
    assert read_image(folder / "out" / "sensitivity" / "images.png").std() > 10


def test_noise_on_one_image_against_the_spread_of_others(folder: Path) -> None:
    image = "images/a/000.png"
    small, large = (
        _deepvis(image, "--images", "images", "--noise", level, "-o", level, "--no-plots")
        for level in ("1", "10")
    )
    assert "noise of 1 gray levels, 4 pairs; spread over 5 images" in small.output
    assert "not a set of different images" not in large.output
    assert not (folder / "1" / "000.png").exists()
    one, ten = (_table(folder / level / "000.csv")["conv/1"] for level in ("1", "10"))
    # The same draws, ten times as large, through a layer that is nearly linear.
    assert float(ten["mean"]) == pytest.approx(10 * float(one["mean"]), rel=0.2)
    alone = _deepvis(image)
    assert "not a set of different images" in alone.output
    assert _table(folder / "out" / "sensitivity" / "000.csv")["fc"]["mean"] == ""


def test_a_video_is_compared_frame_by_frame(folder: Path) -> None:
    writer = cv2.VideoWriter("still.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5, (40, 30))
    for _ in range(4):
        writer.write(np.full((30, 40, 3), 90, np.uint8))
    writer.release()
    result = _deepvis("still.avi", "--images", "images")
    assert "each frame to the next, 3 pairs; spread over 5 images" in result.output
    for row in _table(folder / "out" / "sensitivity" / "still.csv").values():
        assert float(row["highest"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no images at nowhere"),
        (["images", "--frames", "--noise", "2"], "cannot be combined"),
        (["images", "--layers", "conv"], "did you mean"),
        (["images", "--noise", "-2"], "above 0, got -2"),
        (["images/a/000.png", "--frames"], "two frames of a video"),
    ],
)
def test_mistakes_give_clear_errors(arguments: list[str], words: str) -> None:
    assert words in " ".join(_deepvis(*arguments, code=2).output.split())

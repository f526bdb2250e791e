"""``LAYER:raw`` in the commands that take a layer: its own output, below the in-place ReLU."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import slow_layers, small_model
from helpers.image_sets import write_folder
from typer.testing import CliRunner

import deepvis_caffe as dv
from deepvis_caffe.cli.main import app
from deepvis_caffe.image import read_image

RAW = "conv/1:raw"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, its settings and images, as the current one."""
    small_model.write_model(tmp_path)
    write_folder(tmp_path / "images", 5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEEPVIS_SETTINGS", raising=False)
    return tmp_path


@pytest.fixture
def outputs() -> dict[str, np.ndarray]:
    """The convolution of each image, (5, H, W), by slow numpy; some values are below 0."""
    net = dv.load_net("small.prototxt", "small.caffemodel", engine="torch", mean=small_model.MEAN)
    kernel, bias = small_model.weights()["conv/1"]
    found = {}
    for path in sorted(Path("images").rglob("*.png")):
        x = net.preprocessor(read_image(path))[None]
        found[path.relative_to("images").as_posix()] = slow_layers.convolution(
            x.astype(float), kernel, bias, stride=2
        )[0][0]
    assert all((one < 0).any() for one in found.values())
    return found


def _deepvis(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.slow
def test_top_images_and_stats(folder: Path, outputs: dict[str, np.ndarray]) -> None:
    layers = ("--layers", f"conv/1,{RAW}")
    _deepvis("top-images", "--images", "images", *layers, "--pictures", RAW, "--units", "2")
    record = json.loads((folder / "out/max_im/conv_1_raw/conv_1_raw_0002.json").read_text())
    assert record["layer"] == RAW
    best = sorted(outputs, key=lambda name: -outputs[name][2].max())
    assert [one["name"] for one in record["images"]] == best
    values = [one["value"] for one in record["images"]]
    np.testing.assert_allclose(values, [outputs[name][2].max() for name in best], rtol=1e-4)
    _deepvis("stats", "--layers", RAW, "--no-plots")
    with (folder / "out" / "dataset" / "conv_1_raw.csv").open() as file:
        row = list(csv.DictReader(file))[2]
    every = np.stack([one[2] for one in outputs.values()])
    assert float(row["mean"]) == pytest.approx(every.mean(), rel=1e-4)
    assert float(row["zeros"]) == 0  # no ReLU


def test_optimize_keeps_it_apart_and_a_ReLU_changes_nothing(folder: Path) -> None:
    more = ("--units", "1", "--seeds", "1", "--iterations", "4")
    for name in (RAW, "conv/1"):
        _deepvis("optimize", name, *more)
    trees = folder / "out" / "regularized_opt"
    assert sorted(path.name for path in trees.iterdir()) == ["conv_1", "conv_1_raw"]
    one, other = (trees / f"{stem}/{stem}_0001_0.json" for stem in ("conv_1", "conv_1_raw"))
    assert json.loads(one.read_text())["objective"] == json.loads(other.read_text())["objective"]


def test_backward_says_the_value_below_zero(outputs: dict[str, np.ndarray]) -> None:
    name = min(outputs, key=lambda name: outputs[name][3, 2, 3])
    assert outputs[name][3, 2, 3] < 0
    more = ("--unit", "3", "--position", "2,3", "--mode", "gradient")
    for layer, value in ((RAW, outputs[name][3, 2, 3]), ("conv/1", 0.0)):
        output = _deepvis("backward", f"images/{name}", "--layer", layer, *more)
        said = re.search(r"activation (-?[\d.e+-]+)", output)
        assert said is not None, output
        assert float(said[1]) == pytest.approx(value, rel=1e-4, abs=1e-4)
        assert "zero everywhere" not in output  # it starts below the ReLU


def test_sensitivity_has_a_row_of_its_own(folder: Path) -> None:
    layers = ("--layers", f"conv/1,{RAW}")
    _deepvis("sensitivity", "images", *layers, "--noise", "5", "--no-plots", "--out", "table")
    rows = list(csv.DictReader(next((folder / "table").glob("*.csv")).open()))
    assert [row["layer"] for row in rows] == ["conv/1", RAW]
    assert [row["type"] for row in rows] == ["Convolution"] * 2
    assert rows[0]["mean"] != rows[1]["mean"]

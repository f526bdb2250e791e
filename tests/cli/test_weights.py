"""`deepvis weights` against numpy and the library's own pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import small_model
from helpers.commands import deepvis, read_rgb

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import write_image
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.results import records
from deepvis_caffe.results.index import read_results

pytestmark = pytest.mark.usefixtures("folder")

W, BIAS = small_model.weights()["conv/1"]


def described(said: str) -> dict[str, list[float]]:
    """Mean, standard deviation and range by blob."""
    number = r"(-?[\d.e+-]+)"
    line = rf"(\w+), [\dx ]+: mean {number}, standard deviation {number}, from {number} to {number}"
    return {one[1]: [float(value) for value in one.groups()[1:]] for one in re.finditer(line, said)}


def numpys(values: np.ndarray) -> list[float]:
    return [values.mean(), values.std(), values.min(), values.max()]


def test_a_layer_is_drawn_and_described(net: Net) -> None:
    said = deepvis("weights", "conv/1").stdout
    assert said.startswith("conv/1 (Convolution): 5 units, each 3 channels x 3 x 3\n")
    np.testing.assert_array_equal(
        read_rgb("weights.png"), dv.layer_weights(net, "conv/1").picture()
    )
    found = described(said)
    for name, blob in (("weights", W), ("bias", BIAS)):
        np.testing.assert_allclose(found[name], numpys(blob), rtol=1e-3)
    counts = [int(one) for one in re.findall(r"^ .* to .*? (\d+)\s*#*$", said, re.MULTILINE)]
    assert counts[:20] == np.histogram(W, 20)[0].tolist()


def test_one_unit_and_several(net: Net) -> None:
    given = ("--scale", "layer", "--style", "gray", "-o", "one.png")
    said = deepvis("weights", "fc", "--units", "2", *given).stdout
    rows = small_model.weights()["fc"][0]
    np.testing.assert_allclose(described(said)["weights"], numpys(rows[2]), rtol=1e-3)
    found = dv.layer_weights(net, "fc")
    np.testing.assert_array_equal(read_rgb("one.png"), found.picture(2, "layer", "gray"))
    deepvis("weights", "fc", "--units", "3,0-1")
    np.testing.assert_array_equal(read_rgb("weights.png"), found.picture([3, 0, 1]))


def test_a_layer_without_kernels_is_described_only() -> None:
    bn = 'layer { name: "bn" type: "BatchNorm" bottom: "conv/1" top: "bn" }'
    Path("small.prototxt").write_text(small_model.PROTOTXT + bn)
    blobs = np.arange(5, dtype=np.float32), np.ones(5, np.float32), np.ones(1, np.float32)
    types = {"conv/1": "Convolution", "fc": "InnerProduct", "bn": "BatchNorm"}
    weights = {**small_model.weights(), "bn": blobs}
    layers = {name: (types[name], some) for name, some in weights.items()}
    write_caffemodel("small.caffemodel", "Small", layers)
    result = deepvis("weights", "bn")
    assert result.stdout.startswith("bn (BatchNorm)\n")
    np.testing.assert_allclose(described(result.stdout)["mean"], numpys(blobs[0]), rtol=1e-3)
    assert not Path("weights.png").exists()
    assert "has weights (mean (5,), " in deepvis("weights", "bn", "--units", "0", code=2).stderr


def test_pictures_of_each_unit_for_the_gallery(net: Net) -> None:
    deepvis("weights", "fc", "--gallery")
    found = dv.layer_weights(net, "fc")
    for unit in range(4):
        path = Path(f"out/weights/fc/fc_{unit:04d}.png")
        np.testing.assert_array_equal(read_rgb(path), found.picture(unit))
        record = json.loads(path.with_suffix(".json").read_text())
        assert (record["layer"], record["unit"]) == ("fc", unit)
        assert record["label"] == small_model.LABELS[unit]
    results = read_results("out")
    (layer,) = results.layers
    assert (layer.name, layer.model, results.skipped) == ("fc", "Small", ())
    assert [unit.label for unit in layer.units] == list(small_model.LABELS)
    assert all(unit.pictures == {"weights"} for unit in layer.units)
    Path("out/weights/fc/fc_0000.json").unlink()
    said = deepvis("weights", "fc", "--gallery", code=2).stderr
    assert "has no deepvis_caffe record" in said


def test_interrupted_between_a_picture_and_its_record_they_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_and_stop(path: Path, picture: np.ndarray) -> None:
        write_image(path, picture)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(records, "write_image", write_and_stop)
        deepvis("weights", "fc", "--gallery", code=130)
    assert Path("out/weights/fc/fc_0000.png").exists()
    deepvis("weights", "fc", "--gallery")
    assert len(list(Path("out/weights/fc").glob("fc_*.json"))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("relu1", "layer 'relu1' (ReLU) has no weights; layers with weights: conv/1, fc"),
        ("fcc", "no layer or blob named 'fcc'"),
        ("fc --units 4", "is out of range: the layer has 4 units"),
        ("fc --scale all", "no scale named 'all'"),
        ("fc --style image", "the 5 channels of layer 'fc' are not those of an image"),
    ],
)
def test_errors(arguments: str, message: str) -> None:
    assert message in deepvis("weights", *arguments.split(), code=2).stderr

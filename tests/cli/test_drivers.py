"""`deepvis drivers` against the library's own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import deepvis, read_rgb
from helpers.results_folder import add_run, record

import deepvis_caffe as dv
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.drivers import drivers_figure
from deepvis_caffe.image import write_image

UNIT = ("--layer", "fc", "--unit", "1")


@pytest.fixture(autouse=True)
def photo(folder: Path) -> np.ndarray:
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    write_image(folder / "photo.png", picture)
    return picture


def test_a_table_and_a_figure(net: Net, photo: np.ndarray) -> None:
    said = deepvis("drivers", "photo.png", *UNIT, "--count", "4", "-o", "drivers.png")
    found = dv.drivers(net, photo, "fc", 1, count=4)
    first, head, *rows, total = said.stdout.splitlines()
    assert first == f"fc unit 1: activation {found.activation:.5g}"
    assert head.split() == ["layer", "unit", "adds", "share"]
    assert [row.split() for row in rows] == [
        [one.layer, str(one.unit), f"{one.contribution:+.4g}", f"{one.share:+.1%}"] for one in found
    ]
    assert f"all units: {found.total:.5g}; biases and the like: {found.rest:.5g}" in total
    np.testing.assert_array_equal(read_rgb("drivers.png"), drivers_figure(found))
    assert said.stderr == "wrote drivers.png\n"


def test_the_figure_has_the_pictures_of_the_results_folder(net: Net, photo: np.ndarray) -> None:
    """Rows of optimized and top images below the maps: the very colors of the files."""
    found = dv.drivers(net, photo, "fc", 1, count=4)
    assert {one.layer for one in found} == {"conv/1"}
    first, second = found.raising[0].unit, found.raising[1].unit
    purple, green = np.uint8([[[150, 30, 190]]]), np.uint8([[[30, 180, 60]]])
    made = add_run(Path("out"), "conv_1", record("conv/1", first, 0, window=None, sees=None))
    made.with_name(f"conv_1_{first:04d}_0_best_X.png").unlink()  # the other is shown as it is
    write_image(made.with_name(f"conv_1_{first:04d}_0_best_Xpm.png"), np.tile(purple, (8, 8, 1)))
    top = Path("out/max_im/conv_1")
    top.mkdir(parents=True)
    write_image(top / f"conv_1_{second:04d}.jpg", np.tile(green, (24, 24, 1)))
    deepvis("drivers", "photo.png", *UNIT, "--count", "4", "-o", "drivers.png")
    figure = read_rgb("drivers.png").astype(int)
    plain = drivers_figure(found)
    rows = figure.shape[0] - plain.shape[0]
    assert rows == 2 * (150 + 6), "two rows of 150 pixels more"
    at = {}
    for name, color in (("purple", purple), ("green", green)):
        near = (np.abs(figure - color).max(axis=2) <= 8).nonzero()
        assert len(near[0]) >= 0.95 * 150**2
        at[name] = (near[0].min(), near[1].min())
    assert at["green"][0] == at["purple"][0] + 156, "the next row"
    assert at["green"][1] == at["purple"][1] + 156, "below the map of the second unit"


def test_json_a_position_and_layers(net: Net, photo: np.ndarray) -> None:
    given = ("--layer", "conv/1", "--unit", "4", "--position", "1,2", "--below", "data", "--json")
    found = dv.drivers(net, photo, "conv/1", 4, (1, 2), ["data"])
    assert json.loads(deepvis("drivers", "photo.png", *given).stdout) == json.loads(
        json.dumps(found.record())
    )


def test_the_stage_below(net: Net, photo: np.ndarray) -> None:
    given = ("--layer", "prob", "--unit", "2", "--reach", "stage", "--json")
    found = dv.drivers(net, photo, "prob", 2, reach="stage")
    assert {one.layer for one in found} == {"conv/1"}
    assert json.loads(deepvis("drivers", "photo.png", *given).stdout) == json.loads(
        json.dumps(found.record())
    )


def test_without_an_image_the_weights_tell(net: Net, folder: Path) -> None:
    said = deepvis("drivers", *UNIT, "--json")
    expected = dv.drivers_by_weights(net, "fc", 1)
    assert json.loads(said.stdout) == expected.record()
    table = deepvis("drivers", *UNIT).stdout.splitlines()
    assert table[0] == "fc unit 1, by weights"
    assert table[2].split()[:3] == ["conv/1", str(expected[0].unit), f"{expected[0].weight:+.4g}"]


def test_without_an_image_means_of_a_scan_count(net: Net, folder: Path) -> None:
    deepvis("top-images", "--images", ".", "--layers", "all")
    said = deepvis("drivers", *UNIT).stdout.splitlines()
    assert said[0] == "fc unit 1, by weights and mean activations"
    picture = dv.read_image(folder / "photo.png")
    means = net.forward(net.preprocessor(picture)[None], ["conv/1"])["conv/1"].mean(axis=(0, 2, 3))
    expected = dv.drivers_by_weights(net, "fc", 1, {"conv/1": means})
    assert [row.split()[1] for row in said[2:]] == [str(one.unit) for one in expected]


def test_flags_that_take_an_image() -> None:
    said = deepvis("drivers", *UNIT, "--position", "center", code=2)
    assert "--out, --below, --reach and --position need an image" in said.stderr
    said = deepvis("drivers", *UNIT, "--reach", "stage", code=2)
    assert "need an image" in said.stderr
    said = deepvis("drivers", "photo.png", *UNIT, "--reach", "far", code=2)
    assert "reach must be one of nearest, stage; got 'far'" in said.stderr

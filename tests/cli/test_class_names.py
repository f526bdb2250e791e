"""Class names in every command: line k is class k, and only outputs have classes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helpers import small_model
from helpers.commands import deepvis
from helpers.engine_nets import layer
from helpers.image_sets import write_folder

SHORT = ("--units", "0-3", "--seeds", "1", "--iterations", "2")
SAME = small_model.PROTOTXT.replace("num_output: 5", "num_output: 4")  # conv/1 has 4 units, too


@pytest.fixture
def same(folder: Path) -> Path:
    """The small model with as many units in its first layer as classes; class 1 has no name."""
    (folder / "small.prototxt").write_text(SAME)
    weights = small_model.weights()
    conv, fc = weights["conv/1"], weights["fc"]
    small_model.write_caffemodel(
        folder / "small.caffemodel",
        "Small",
        {
            "conv/1": ("Convolution", (conv[0][:4], conv[1][:4])),
            "fc": ("InnerProduct", (fc[0][:, : 4 * 5 * 7], fc[1])),
        },
    )
    (folder / "labels.txt").write_text("ant\n\ncat\ndog\n\n")
    return folder


NAMES = ["ant", None, "cat", "dog"]


def labels_in(folder: str, stem: str, ending: str) -> list[str | None]:
    paths = (Path("out", folder, stem, f"{stem}_{unit:04d}{ending}.json") for unit in range(4))
    return [json.loads(path.read_text())["label"] for path in paths]


@pytest.mark.usefixtures("same")
def test_optimized_images_and_their_montages() -> None:
    said = deepvis("optimize", "--layers", "conv/1,fc,prob", *SHORT).output
    assert "no output" not in said
    for ending in ("_0", "_montage"):
        assert labels_in("regularized_opt", "fc", ending) == NAMES
        assert labels_in("regularized_opt", "prob", ending) == NAMES
        assert labels_in("regularized_opt", "conv_1", ending) == [None] * 4
    assert [line.split(":")[0] for line in said.splitlines() if "activation" in line] == [
        *("    0", "    1", "    2", "    3"),
        *("    0  ant", "    1", "    2  cat", "    3  dog"),
        *("    0  ant", "    1", "    2  cat", "    3  dog"),
    ]


def test_top_images_and_statistics(same: Path) -> None:
    write_folder(same / "images", 4)
    layers = ("--layers", "conv/1,fc", "--pictures", "conv/1,fc", "--units", "0-3")
    deepvis("top-images", "--images", "images", "--class-folders", *layers)
    assert labels_in("max_im", "fc", "") == NAMES
    assert labels_in("max_im", "conv_1", "") == [None] * 4
    images = json.loads(Path("out/max_im/fc/fc_0000.json").read_text())["images"]
    # The images are of classes 0 and 1, and class 1 has no name.
    assert {one["class"]: one["class_name"] for one in images} == {0: "ant", 1: None}
    deepvis("stats", "--no-plots")
    for stem, expected in (("fc", ["ant", "", "cat", "dog"]), ("conv_1", [""] * 4)):
        with Path("out/dataset", f"{stem}.csv").open() as file:
            assert [row["label"] for row in csv.DictReader(file)] == expected


@pytest.mark.usefixtures("same")
def test_the_highest_classes() -> None:
    said = deepvis("backward", "astronaut", "--layer", "fc", "--unit", "2").output
    names = [line.split()[-1] for line in said.splitlines() if line.startswith(" ")]
    assert sorted(names) == ["1", "ant", "cat", "dog"]  # "unit 1"


@pytest.mark.usefixtures("same")
def test_a_name_is_the_unit_in_every_command_and_flags_have_both_spellings() -> None:
    for flags in (("fc", "--units", "dog,ant"), ("--layer", "fc", "--unit", "dog,ant")):
        said = deepvis("optimize", *flags, *SHORT[2:]).output
        assert [line[:10] for line in said.splitlines() if "activation" in line] == [
            "    3  dog", "    0  ant"
        ]  # fmt: skip
    assert "2 already finished" in said
    for one, unit in (("--layer", "--unit"), ("--layers", "--units")):
        flags = (one, "fc", f"{unit}=dog")
        assert "fc unit 3: activation" in deepvis("backward", "astronaut", *flags).output
        assert "fc unit 3, by weights" in deepvis("drivers", *flags).output
        deepvis("sweep", *flags, "--columns", "2", "--iterations", "2")
        assert Path("out/sweep/fc_0003_0.png").is_file()
    assert "fc.png: 1 units" in deepvis("layer-figure", "fc", "--unit", "dog").output
    said = deepvis("backward", "astronaut", "--layer", "fc", "--unit", "dog,ant", code=2).output
    assert "--unit: 'dog,ant' names 2 units; give one of them" in said
    assert "did you mean 'dog'" in deepvis("optimize", "fc", "--units", "dgo", code=2).output


def test_as_many_names_as_a_hidden_layer_has_units_fit_no_output(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "labels.txt").write_text("a\nb\nc\nd\ne\n")  # conv/1 has five units, fc has four
    deepvis("optimize", "conv/1", *SHORT)
    assert "no output has as many units as" in caplog.text
    assert labels_in("regularized_opt", "conv_1", "_0") == [None] * 4


def test_the_names_of_what_a_detector_finds_belong_to_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = "input_param {{ shape {{ dim: 1 dim: {} }} }}"
    text = [
        layer("offsets", "Input", "", "offsets", shape.format(140)),
        layer("scores", "Input", "", "scores", shape.format(105)),
        layer("prior", "PriorBox", "conv/1 data", "", "prior_box_param { min_size: 4 }"),
        layer(
            "found",
            "DetectionOutput",
            "offsets scores prior",
            "",
            "detection_output_param { num_classes: 3 nms_param { } }",
        ),
    ]
    (folder / "small.prototxt").write_text(small_model.PROTOTXT + "".join(text))
    (folder / "labels.txt").write_text("cat\ndog\n")
    view = ("view", "astronaut", "--headless", "--frames", "1", "--no-synthesis")
    deepvis(*view)
    assert "no output" not in caplog.text
    assert "no output" not in deepvis("doctor").output
    (folder / "labels.txt").write_text("cat\ndog\nhorse\ncow\nsheep\n")
    deepvis(*view)
    assert "no output" in caplog.text
    assert "no output" in deepvis("doctor").output


def test_empty_lines_between_all_names(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "labels.txt").write_text("ant\n\nbee\n\ncat\n\ndog\n")
    deepvis("optimize", "fc", *SHORT)
    assert "no output" not in caplog.text
    assert labels_in("regularized_opt", "fc", "_0") == ["ant", "bee", "cat", "dog"]

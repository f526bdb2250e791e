"""`deepvis attribute` against the library's own arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.commands import deepvis, read_rgb

import deepvis_caffe as dv
from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.cli.attribute import attribute
from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.image import write_image


@pytest.fixture(autouse=True)
def photo(folder: Path) -> np.ndarray:
    picture = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    write_image(folder / "photo.png", picture)
    return picture


def test_one_method_with_its_parameters(net: Net, photo: np.ndarray) -> None:
    said = deepvis(
        *("attribute", "photo.png", "--layer", "fc", "--unit", "1", "--method", "occlusion"),
        *("-p", "window=(4,3)", "-p", "baseline=black", "--overlay", "over.png", "-o", "map.npy"),
    )
    found = dv.attribute(net, photo, "fc", 1, "occlusion", window=(4, 3), baseline="black")
    np.testing.assert_allclose(np.load("map.npy"), found.map, rtol=1e-5)
    np.testing.assert_array_equal(read_rgb("over.png")[::12, ::12], found.overlay())
    assert said.stdout == f"fc unit 1: activation {found.activation:.5g}\n"
    assert "wrote map.npy and over.png" in said.stderr


def test_a_position_and_a_style(net: Net, photo: np.ndarray) -> None:
    given = "--layer conv/1 --unit 4 --method integrated-gradients --position 1,2 --view gray"
    deepvis("attribute", "photo.png", *given.split(), "-o", "o.png")
    found = dv.attribute(net, photo, "conv/1", 4, "integrated_gradients", (1, 2))
    np.testing.assert_array_equal(read_rgb("o.png")[::12, ::12], found.picture("gray"))


def test_all_methods_in_one_figure(net: Net, photo: np.ndarray) -> None:
    given = ("--layer", "fc", "--unit", "1", "--all-methods", "-p", "samples=3", "-p", "steps=4")
    said = deepvis("attribute", "photo.png", *given)
    cells = [Cell(net.preprocessor.show(net.preprocessor(photo)), ("image",))]
    for name, method in METHODS.items():
        own = {"smooth_grad": {"samples": 3}, "integrated_gradients": {"steps": 4}}.get(name, {})
        found = dv.attribute(net, photo, "fc", 1, name, **own)
        cells.append(Cell(found.picture(), (method.title,)))
    expected = grid(cells, columns=4, cell=227, title="fc unit 1", text=15)
    np.testing.assert_array_equal(read_rgb("attribution.png"), expected)
    assert "left out" not in said.stderr


def test_methods_that_cannot_are_left_out_of_the_figure() -> None:
    """A Softmax has no rule, and below the first layer there are no maps."""
    said = deepvis("attribute", "photo.png", "--layer", "prob", "--unit", "1", "--all-methods")
    assert "left out LRP-epsilon: layer-wise relevance propagation has no rule" in said.stderr
    said = deepvis("attribute", "photo.png", "--layer", "conv/1", "--unit", "1", "--all-methods")
    assert "left out Grad-CAM: no single layer with maps" in said.stderr


def test_help_names_every_method() -> None:
    (option,) = attribute.__annotations__["method"].__metadata__
    assert option.help.rstrip(".").replace(" or ", ", ").split(", ") == [*METHODS]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method gradcam", "no attribution method named 'gradcam'; did you mean 'grad_cam'"),
        ("-p steps", "--parameter: got 'steps', expected NAME=VALUE"),
        ("-p steps=3", "no parameter named 'steps' in method 'grad_cam'"),
        ("--all-methods -p stepz=3", "no method has a parameter named 'stepz'"),
        ("--all-methods --overlay o.png", "--overlay works with one method only"),
        ("--view rwa", "no style named 'rwa'"),
        ("--unit 9", "layer 'fc' has no unit 9"),
    ],
)
def test_errors(arguments: str, message: str) -> None:
    given = ("attribute", "photo.png", "--layer", "fc", "--unit", "1", *arguments.split())
    assert message in deepvis(*given, code=2).stderr

"""Weights in the viewer: those of the layer that writes the blob, each unit's in its cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text, relu

from deepvis_caffe.engines.base import Net
from deepvis_caffe.figures.weights import layer_weights
from deepvis_caffe.image import resize_image
from deepvis_caffe.viewer.compute import weights as weights_module
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.compute.weights import unit_weights
from deepvis_caffe.viewer.panes import grid
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.catalogue import Entry, catalogue
from deepvis_caffe.viewer.state.request import Frame, Result, request_of
from deepvis_caffe.viewer.state.state import Scene, State

TEXT = net_text(
    layer(
        "first", "Convolution", "data", "a", "convolution_param { num_output: 5 kernel_size: 3 }"
    ),
    relu("relu", "a"),
    layer("pool", "Pooling", "a", "", "pooling_param { kernel_size: 2 }"),
    conv("second", "pool", 4, 2),
    data=(1, 3, 9, 10),
)
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 10, 3)).astype(np.uint8)


@pytest.fixture
def net(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, TEXT)


def entry(net: Net, name: str) -> Entry:
    return next(one for one in catalogue(net) if one.name == name)


def test_a_blob_s_weights_are_those_of_the_layer_that_writes_it_first(net: Net) -> None:
    found = unit_weights(net, entry(net, "a"))
    assert found.layer is not None
    np.testing.assert_array_equal(found.layer.values, net.model.weights["first"][0])
    expected = layer_weights(net, "first")
    for unit, picture in enumerate(found.pictures):
        np.testing.assert_array_equal(picture, expected.picture(unit, zoom=160 // 3))
    assert "layer 'pool' (Pooling) has no weights" in unit_weights(net, entry(net, "pool")).why_not


def test_of_many_units_each_is_small(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MOST", 4 * 6**2)
    one = unit_weights(net, entry(net, "second")).pictures[1]
    whole = layer_weights(net, "second").picture(1, zoom=1)  # 3 x 2 patches of 2 x 2
    assert whole.shape == (5, 8, 3)
    np.testing.assert_array_equal(one, resize_image(whole, 4, 6))


def test_they_are_computed_once_a_layer_and_only_where_they_are_shown(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "deepvis_caffe.viewer.compute.forward.unit_weights",
        lambda net, entry: asked.append(entry.name) or unit_weights(net, entry),
    )
    scene = Scene(catalogue(net))
    compute = Compute(net, scene)

    def run(number: int, **state: int) -> Result:
        return compute(Frame(PICTURE, number, ""), request_of(State(**state), scene))

    assert run(1).weights is None
    first = run(1, weights=True).weights
    assert first is run(2, weights=True).weights
    assert run(2, weights=True, layer=2).weights is not first
    assert asked == ["a", "second"]


def test_the_grid_shows_each_unit_s_weights_in_its_cell(net: Net) -> None:
    scene, state = Scene(catalogue(net)), State(weights=True, unit=4)
    result = Compute(net, scene)(Frame(PICTURE, 1, ""), request_of(state, scene))
    view = View(state, scene, net.preprocessor, result=result)
    drawn = grid.PANE.draw(view, 300, 400)
    cells = grid.cells_of(scene.entries[0], state, inside(300, 400, wide_letters(400)))
    assert result.weights is not None
    for unit, picture in enumerate(result.weights.pictures):
        place = cells.rect(unit)
        assert place is not None
        side = min(place.height, place.width)
        top, left = place.top + (place.height - side) // 2, place.left + (place.width - side) // 2
        expected = resize_image(picture, side, side)
        shown = drawn[top : top + side, left : left + side]
        inner = slice(4, -4)  # the selection's frame may lie over the edges
        np.testing.assert_array_equal(shown[inner, inner], expected[inner, inner])

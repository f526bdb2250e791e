"""The list of layers: in order, each with its chip, the selection in view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text
from helpers.pane_views import entry, has, scene, view_of

from deepvis_caffe.viewer.panes.colors import ACCENT, ACCENT_DIM, RAISED, SOURCE, TEXT
from deepvis_caffe.viewer.panes.layers import PANE, layers_height
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.parts import scene_of
from deepvis_caffe.viewer.state.catalogue import Opaque
from deepvis_caffe.viewer.state.state import State

FEW = scene(entry("conv1", 4, 2, 2), entry("fire2/squeeze", 4, 2, 2), entry("fire2/expand", 4))
MANY = scene(*(entry(f"inception_{i // 8}/part_{i % 8}", 4, 2, 2) for i in range(140)))


def _view(seen=FEW, **state: object) -> View:
    return view_of(seen, np.zeros((4, 2, 2)), State(**state))  # type: ignore[arg-type]


def _found(view: View, height: int, width: int) -> dict[int, list[tuple[int, int]]]:
    """The pixels of each layer."""
    places: dict[int, list[tuple[int, int]]] = {}
    for y in range(0, height, 3):
        for x in range(0, width, 6):
            hit = PANE.hit(view, height, width, y, x)
            if hit is not None:
                assert hit.kind == "layer"
                assert view.scene.entries[hit.index].name in hit.tip
                places.setdefault(hit.index, []).append((y, x))
    return places


def test_chips_stand_in_reading_order_apart_from_each_other() -> None:
    places = _found(_view(), 90, 1264)
    assert list(places) == [0, 1, 2]
    before = -99
    for place in places.values():
        ys, xs = np.array(place).T
        assert len(place) == len(set(ys)) * len(set(xs)), "a chip is a rectangle"
        assert xs.min() > before
        before = xs.max()


def test_the_selection_is_the_chip_in_colour_and_paler_when_the_cursor_is_elsewhere() -> None:
    for index in range(3):
        made = PANE.draw(_view(layer=index), 90, 1264)
        rows, columns = np.nonzero((made == ACCENT).all(axis=2))
        y, x = int(np.median(rows)), int(np.median(columns))
        hit = PANE.hit(_view(), 90, 1264, y, x)
        assert hit is not None
        assert hit.index == index
        paler = PANE.draw(_view(layer=index, cursor="units"), 90, 1264)
        assert (paler[rows.min() + 6 : rows.max() - 6, columns.min() + 3] == ACCENT_DIM).all()


def test_the_layer_where_the_pass_starts_is_marked() -> None:
    made = PANE.draw(_view(back="deconv", source=(2, 1)), 90, 1264)
    rows, columns = np.nonzero((made == SOURCE).all(axis=2))
    hit = PANE.hit(_view(), 90, 1264, int(rows[0]), int(np.median(columns)))
    assert hit is not None
    assert hit.index == 2
    assert not has(PANE.draw(_view(source=(2, 1)), 90, 1264), SOURCE), "there is no pass"


@pytest.mark.parametrize("width", [300, 640, 1264])
@pytest.mark.parametrize("layer", [0, 70, 139])
def test_the_selection_is_in_view_however_many_layers(layer: int, width: int) -> None:
    view = _view(MANY, layer=layer)
    places = _found(view, layers_height(2, width), width)
    assert layer in places
    assert list(places) == list(range(min(places), max(places) + 1))
    assert has(PANE.draw(view, layers_height(2, width), width), ACCENT)


@pytest.mark.slow
def test_scrolling_by_hand_goes_through_all_and_no_farther() -> None:
    width, seen = 640, set()
    rows, height = 0, layers_height(2, 640)
    while seen != set(range(140)):
        view = _view(MANY, scroll=rows)
        seen |= set(_found(view, height, width))
        rows += 1
        assert rows < 140
    rows += 1  # two are in view
    last = PANE.draw(_view(MANY, scroll=rows - 2), height, width)
    np.testing.assert_array_equal(PANE.draw(_view(MANY, scroll=999), height, width), last)
    away = replace(view, state=State(layer=0, scroll=rows))
    assert not has(PANE.draw(away, height, width), ACCENT)


def test_a_layer_that_cannot_run_stands_gray_in_its_place_with_the_reason() -> None:
    """Between conv1 and fire2, and behind the last one."""
    odd = Opaque("odd", "MyHead", "its type is not known", 1)
    end = Opaque("end", "Pooling", "needs layer 'odd'", 3)
    seen = replace(FEW, opaque=(odd, end))
    order: list[str] = []
    gray: dict[str, tuple[int, int]] = {}
    for x in range(0, 1264, 3):
        hit = PANE.hit(_view(seen), 90, 1264, 45, x)
        if hit is not None and (not order or hit.tip != order[-1]):
            order.append(hit.tip)
            if hit.kind == "nothing":
                gray[hit.tip] = (45, x)
    assert [tip.split()[0] for tip in order] == [
        "conv1",
        "odd",
        "fire2/squeeze",
        "fire2/expand",
        "end",
    ]
    assert order[1] == "odd   (MyHead) cannot run: its type is not known"
    assert order[-1] == "end   (Pooling) cannot run: needs layer 'odd'"
    made = PANE.draw(_view(seen), 90, 1264)
    for y, x in gray.values():
        chip = made[y - 8 : y + 8, x : x + 20]
        assert not (chip == TEXT).all(axis=2).any()
        assert not (chip == RAISED).all(axis=2).any()


def test_the_scene_of_a_net_knows_what_cannot_run(tmp_path: Path) -> None:
    text = net_text(
        layer("first", "MyHead", "data"),
        conv("conv1", "data", 2),
        layer("head", "MyHead", "conv1"),
        layer("after", "ReLU", "head"),
        conv("conv2", "conv1", 2),
        data=(1, 3, 4, 4),
    )
    made = scene_of(load_text("torch", tmp_path, text))
    assert [one.name for one in made.entries] == ["conv1", "conv2"]
    assert [(one.name, one.before) for one in made.opaque] == [
        ("first", 0),
        ("head", 1),
        ("after", 1),
    ]
    assert made.opaque[2].why.startswith("needs layer 'head' (MyHead), which cannot run: ")

"""Pictures that fill the window: the source, resized, is at its place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, has, scene, view, view_of

from deepvis_caffe.attribution.pictures import map_overlay
from deepvis_caffe.figures.montage import montage
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.results.records import TopImage
from deepvis_caffe.viewer.panes.draw import Rect, fitted
from deepvis_caffe.viewer.panes.enlarged import PANE, zooms
from deepvis_caffe.viewer.panes.maps import Boost, color_maps
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.units import UnitPictures

SIZE = (500, 700)
ROOM = inside(*SIZE, wide_letters(SIZE[1]))
RNG = np.random.default_rng(0)
DIFF = RNG.normal(size=(3, 8, 10)).astype(np.float32)
MADE = tuple(RNG.integers(0, 256, (20, 20, 3)).astype(np.uint8) for _ in range(3))
CROPS = [RNG.integers(0, 256, (15, 15, 3)).astype(np.uint8) for _ in range(4)]
FOUND = tuple(TopImage(f"{k}.png", 9.0 - k, None, "cat, puss") for k in range(4))
PICTURES = UnitPictures(
    optimized=MADE, top=montage(CROPS), deconv=montage(CROPS[::-1]), found=FOUND, columns=2
)


def _shown(zoom: str, index: int = -1, **state: object) -> View:
    set_to = State(zoom=zoom, zoom_index=index, **state)  # type: ignore[arg-type]
    maps = RNG.random((3, 2, 3)).astype(np.float32)
    return replace(view(maps, set_to, back=DIFF), unit=PICTURES)


def _at(drawn: Picture, place: Rect) -> Picture:
    return drawn[place.top : place.bottom, place.left : place.right]


def _assert_fills(shown: View, picture: Picture, room: Rect = ROOM) -> None:
    place = fitted(*picture.shape[:2], room)
    assert place.height == room.height or place.width == room.width
    expected = resize_image(picture, place.height, place.width)
    np.testing.assert_array_equal(_at(PANE.draw(shown, *SIZE), place), expected)


def test_the_input_fills_the_window() -> None:
    shown = _shown("input")
    assert shown.result is not None
    noisy = RNG.integers(0, 256, (8, 10, 3)).astype(np.uint8)
    shown = replace(shown, result=replace(shown.result, picture=noisy))
    _assert_fills(shown, noisy)


def test_the_backward_result_fills_the_window() -> None:
    shown = _shown("back", back="guided", diff_style="heat")
    assert shown.result is not None
    _assert_fills(shown, map_overlay(DIFF, shown.result.picture))


@pytest.mark.parametrize("index", range(3))
def test_one_optimized_image_fills_the_window(index: int) -> None:
    _assert_fills(_shown("optimized", index), MADE[index])


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(("zoom", "crops"), [("top", CROPS), ("deconv", CROPS[::-1])])
def test_one_top_image_fills_the_window_but_for_the_way_to_open_it(
    zoom: str, crops: list[Picture], index: int
) -> None:
    shown = _shown(zoom, index)
    opened = {
        hit.index
        for y in range(SIZE[0])
        for x in range(0, SIZE[1], 10)
        if (hit := PANE.hit(shown, *SIZE, y, x)) is not None and hit.kind == "top"
    }
    assert opened == {index}
    chip = min(
        y
        for y in range(SIZE[0])
        if (hit := PANE.hit(shown, *SIZE, y, SIZE[1] // 2)) is not None and hit.kind == "top"
    )
    drawn = PANE.draw(shown, *SIZE)
    room = ROOM._replace(height=ROOM.height - (ROOM.bottom - chip) - wide_letters(SIZE[1]))
    _assert_fills(shown, crops[index], room)
    assert not np.array_equal(drawn, PANE.draw(_shown(zoom, (index + 1) % 4), *SIZE))


def test_without_a_record_a_top_image_cannot_be_opened() -> None:
    shown = replace(_shown("top", 1), unit=replace(PICTURES, found=()))
    hits = {hit for y in range(0, SIZE[0], 3) if (hit := PANE.hit(shown, *SIZE, y, 350))}
    assert {hit.kind for hit in hits} == {"zoomed"}


def test_a_unit_s_map_fills_the_window_in_its_own_range() -> None:
    maps = RNG.random((3, 2, 3)).astype(np.float32)
    shown = view(maps, State(zoom="unit", unit=1, gamma=3))
    wide, tall = ROOM.width, round(2 * ROOM.width / 3)
    expected = color_maps(maps[1:2], tall, wide, Boost())
    place = Rect(ROOM.top + (ROOM.height - tall) // 2, ROOM.left, tall, wide)
    np.testing.assert_array_equal(_at(PANE.draw(shown, *SIZE), place), expected)


def test_a_pattern_alone_is_the_unit_s_and_never_its_activation() -> None:
    red, blue = (np.full((6, 6, 3), color, np.uint8) for color in ((250, 10, 20), (10, 20, 250)))
    alone = State(optimized=True, zoom="unit", unit=4)
    shown = replace(view(np.ones((9, 4, 4)), alone), optimized={4: red})
    assert has(PANE.draw(shown, *SIZE), (250, 10, 20))
    large = replace(shown, unit=UnitPictures(optimized=(blue,)))
    assert has(PANE.draw(large, *SIZE), (10, 20, 250))
    none = replace(shown, optimized={})
    other = view_of(none.scene, np.random.default_rng(0).random((9, 4, 4)), alone)
    np.testing.assert_array_equal(PANE.draw(none, *SIZE), PANE.draw(other, *SIZE))


def test_all_images_of_a_kind_are_pointed_at_by_name() -> None:
    shown = _shown("top")
    tips = {
        hit.tip
        for y in range(0, SIZE[0], 5)
        for x in range(0, SIZE[1], 5)
        if (hit := PANE.hit(shown, *SIZE, y, x)) is not None
    }
    assert tips == {"", *(f"{k + 1}: {k}.png   cat   {9 - k}.00" for k in range(4))}
    assert PANE.hit(shown, *SIZE, 2, 2) == Hit("zoomed")


def test_what_there_is_is_stepped_through() -> None:
    assert zooms(_shown("off")) == ["unit", "optimized", "top", "deconv", "input"]
    with_pass = _shown("off", back="deconv")
    assert zooms(replace(with_pass, unit=UnitPictures())) == ["unit", "back", "input"]


@pytest.mark.parametrize("zoom", ["unit", "back", "optimized", "top", "deconv", "input"])
def test_what_is_gone_or_not_there_yet_is_said(zoom: str) -> None:
    for index in (-1, 0, 7):
        shown = _shown(zoom, index, back="guided")
        bare = replace(shown, unit=UnitPictures(), result=None, frame=None)
        for one in (shown, bare):
            for size in (SIZE, (1, 1), (30, 300), (300, 30)):
                assert PANE.draw(one, *size).shape == (*size, 3)
                PANE.hit(one, *size, size[0] // 2, size[1] // 2)


def test_a_number_is_enlarged() -> None:
    fc = scene(entry("fc", 3))
    one, two = (view_of(fc, np.full((3, 1, 1), v), State(zoom="unit")) for v in (1.5, 2.5))
    assert not np.array_equal(PANE.draw(one, *SIZE), PANE.draw(two, *SIZE))

"""Input, detail, backward, classes, the unit's pictures, status and help."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.pane_views import colours, entry, has, scene, view, view_of

from deepvis_caffe.attribution.pictures import map_overlay, map_picture
from deepvis_caffe.dataset.statistics import Bars, UnitStatistics
from deepvis_caffe.engines.detections import Box
from deepvis_caffe.figures.montage import montage
from deepvis_caffe.image import resize_image
from deepvis_caffe.results.records import TopImage
from deepvis_caffe.text import line_ink, text_width, wrapped
from deepvis_caffe.viewer.panes import (
    back,
    classes,
    detail,
    enlarged,
    grid,
    status,
    unit,
    weights,
    widgets,
)
from deepvis_caffe.viewer.panes import help as help_pane
from deepvis_caffe.viewer.panes import input as input_pane
from deepvis_caffe.viewer.panes.back import chips_height
from deepvis_caffe.viewer.panes.classes import ranked, scored
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    BROKEN,
    FAINT,
    RAISED,
    SOURCE,
    TROUBLE,
    WELL,
    Color,
)
from deepvis_caffe.viewer.panes.draw import Rect, blank, fitted
from deepvis_caffe.viewer.panes.help import help_pages, help_picture
from deepvis_caffe.viewer.panes.input import color_of
from deepvis_caffe.viewer.panes.maps import Boost, attribution_picture, color_maps
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.redraw import Redraw
from deepvis_caffe.viewer.panes.view import Status, View
from deepvis_caffe.viewer.panes.widgets import inside, letters, row_height, write_note
from deepvis_caffe.viewer.state.actions import help_table
from deepvis_caffe.viewer.state.mouse import mouse_help
from deepvis_caffe.viewer.state.state import DIFF_STYLES, State
from deepvis_caffe.viewer.state.units import UnitPictures, UnitWeights

RNG = np.random.default_rng(0)
DIFF = RNG.normal(size=(3, 8, 10)).astype(np.float32)
ALL = (input_pane, detail, back, classes, unit, status, enlarged)


def _backward(diff_style: str, **state: object) -> View:
    set_to = State(back="guided", diff_style=diff_style, **state)  # type: ignore[arg-type]
    return view(np.ones((2, 2, 2)), set_to, back=DIFF)


@pytest.mark.parametrize("name", DIFF_STYLES)
def test_the_backward_result_is_the_gallerys_view_of_it(name: str) -> None:
    shown = _backward(name)
    made = attribution_picture(shown)
    assert made is not None
    if name == "heat":
        assert shown.result is not None
        expected = map_overlay(DIFF, shown.result.picture)
    else:
        expected = map_picture(DIFF, shown.preprocessor, name)
    np.testing.assert_array_equal(made, expected)
    drawn = back.PANE.draw(shown, 400, 300)
    assert len(colours(drawn) & colours(made)) > 2


@pytest.mark.parametrize("name", DIFF_STYLES)
def test_what_is_no_number_in_the_backward_result_is_marked(name: str) -> None:
    bad = DIFF.copy()
    bad[1, 2, 3], bad[0, 5, 7] = np.nan, np.inf
    made = attribution_picture(
        replace(_backward(name), result=replace(_backward(name).result, back=bad))
    )
    assert made is not None
    assert made.shape == (8, 10, 3)
    marked = (made == BROKEN).all(axis=2)
    assert sorted(zip(*np.nonzero(marked), strict=True)) == [(2, 3), (5, 7)]
    assert len(colours(made)) > 4, "the others are told apart"


def test_a_result_of_another_pass_is_not_shown() -> None:
    shown = _backward("norm")
    for change in ({"back": "deconv"}, {"unit": 1}, {"source": (0, 1)}, {"back": "off"}):
        assert attribution_picture(replace(shown, state=replace(shown.state, **change))) is None


def test_chips_set_the_mode_and_the_view() -> None:
    shown, found = _backward("raw"), set()
    for y in range(0, 400, 3):
        for x in range(0, 300, 3):
            hit = back.PANE.hit(shown, 400, 300, y, x)
            if hit is not None:
                assert hit.tip or hit.kind == "picture"
                found.add((hit.kind, hit.value))
    assert ("picture", "back") in found
    found.discard(("picture", "back"))
    assert found == {("back", name) for name in ("off", "gradient", "deconv", "guided")} | {
        ("style", name) for name in DIFF_STYLES
    } | {("command", "method")}
    off = replace(shown, state=State())
    kinds = {back.PANE.hit(off, 60, 300, y, 20) for y in range(60)}
    assert {hit.kind for hit in kinds if hit} == {"back"}


@pytest.mark.parametrize("name", DIFF_STYLES)
def test_a_map_without_channels_is_shown_in_every_style(name: str) -> None:
    map_ = DIFF[0].copy()
    map_[5, 7] = np.nan
    shown = view(np.ones((2, 2, 2)), State(back="grad_cam", diff_style=name), back=map_)
    made = attribution_picture(shown)
    assert made is not None
    assert sorted(zip(*np.nonzero((made == BROKEN).all(axis=2)), strict=True)) == [(5, 7)]
    clear = np.nan_to_num(map_)
    over = shown.result is not None and map_overlay(clear, shown.result.picture)
    expected = over if name == "heat" else map_picture(clear, shown.preprocessor, name)
    np.testing.assert_array_equal(np.delete(made, 5, axis=0), np.delete(expected, 5, axis=0))


def test_why_a_method_says_nothing_stands_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    for module in (back, enlarged):
        monkeypatch.setattr(module, "write_note", lambda *given: notes.append(given[2]))
    state = State(back="grad_cam", zoom="back")
    shown = view(np.ones((2, 2, 2)), state, why_no_back="no maps")
    for pane in (back, enlarged):
        pane.PANE.draw(shown, 400, 300)
    assert notes == ["no maps", "no maps"]
    notes.clear()
    back.PANE.draw(view(np.ones((2, 2, 2)), state, later=True), 400, 300)
    assert notes == ["computing Grad-CAM ..."]


def test_a_unit_without_weights_shows_its_map_beside_the_reason() -> None:
    maps = np.random.default_rng(0).random((2, 5, 6))
    found = UnitWeights(why_not="layer 'conv' (Pooling) has no weights")
    asked, plain = view(maps, State(weights=True), weights=found), view(maps)
    np.testing.assert_array_equal(
        detail.PANE.draw(asked, 200, 300), detail.PANE.draw(plain, 200, 300)
    )
    drawing = view(maps, State(weights=True))  # it may have some
    assert (detail.PANE.draw(drawing, 200, 300) != detail.PANE.draw(plain, 200, 300)).any()


def test_a_frozen_source_shows_in_the_title() -> None:
    assert has(back.PANE.draw(_backward("raw", source=(0, 0)), 400, 300), SOURCE)
    assert not has(back.PANE.draw(_backward("raw"), 400, 300), SOURCE)


def test_the_input_is_what_the_net_saw_and_heat_is_drawn_once() -> None:
    cold = input_pane.PANE.draw(_backward("raw"), 300, 300)
    assert (cold[150, 100:200] == 90).all()
    heat = _backward("heat")
    np.testing.assert_array_equal(input_pane.PANE.draw(heat, 300, 300), cold)
    picture = attribution_picture(heat)
    assert picture is not None
    drawn = back.PANE.draw(heat, 400, 300)
    rect = fitted(8, 10, Rect(chips_height(300, True), 8, 400 - chips_height(300, True) - 8, 284))
    part = drawn[rect.top : rect.bottom, rect.left : rect.right]
    np.testing.assert_array_equal(part, resize_image(picture, rect.height, rect.width))
    before = input_pane.PANE.draw(replace(_backward("raw"), result=None), 300, 300)
    np.testing.assert_array_equal(before, cold)


def test_the_selected_unit_s_map_lies_over_the_input_where_asked() -> None:
    maps = RNG.random((2, 2, 2)).astype(np.float32)
    shown = view(maps, State(unit=1, overlay=True, boxes=False))
    assert shown.result is not None
    noisy = RNG.integers(0, 256, (8, 10, 3)).astype(np.uint8)
    shown = replace(shown, result=replace(shown.result, picture=noisy))
    place = fitted(8, 10, inside(300, 300, letters(300)))
    size = place.height, place.width

    def drawn(shown: View) -> np.ndarray:
        made = input_pane.PANE.draw(shown, 300, 300)
        return made[place.top : place.bottom, place.left : place.right]

    expected = map_overlay(maps[1], noisy)
    np.testing.assert_array_equal(drawn(shown), resize_image(expected, *size))
    off = replace(shown, state=replace(shown.state, overlay=False))
    np.testing.assert_array_equal(drawn(off), resize_image(noisy, *size))
    later = replace(shown, result=replace(shown.result, maps=maps[:1]))
    np.testing.assert_array_equal(drawn(later), resize_image(noisy, *size))
    number = view_of(scene(entry("fc", 2)), np.ones((2, 1, 1)), State(overlay=True))
    assert (drawn(number) == 90).all(), "a number has no map"
    diffs = State(unit=1, overlay=True, boxes=False, back="deconv", show_back=True)
    np.testing.assert_array_equal(drawn(replace(shown, state=diffs)), resize_image(expected, *size))


def _found(*boxes: tuple[Box, str], **state: Any) -> View:
    return view(np.zeros((2, 3, 4)), State(**state), boxes=boxes)


# The picture, 8 x 10, lies in 240 x 284 pixels of a pane of 300 x 300: 227 x 284, from row 31 on.
CAT = Box(1, 0.876, 0.25, 0.25, 0.75, 1.0), "cat"
DOG = Box(2, 0.5, 0.5, 0.5, 0.75, 0.75), "dog"


def test_boxes_are_drawn_where_they_are_with_their_name_and_score() -> None:
    seen, plain = (
        input_pane.PANE.draw(_found(DOG, CAT, boxes=on), 300, 300) for on in (True, False)
    )
    assert not has(plain, color_of(1))
    differs = (seen != plain).any(axis=2)
    place = fitted(8, 10, inside(300, 300, letters(300)))
    top, left = (place.top + place.height // 4, place.left + place.width // 4)
    right = place.left + place.width * 3 // 4
    own = (seen == np.array(color_of(1))).all(axis=2)
    # Both sides, from the upper edge down to the picture's end, and the lower edge between them.
    for column in (left, right - 2):
        assert own[top + 2 : place.bottom - 1, column : column + 2].any(axis=1).all()
    assert own[place.bottom - 3 : place.bottom, left:right].any(axis=0).all()
    assert not differs[top + 4 : place.top + place.height // 2 - 20, left + 4 : right - 4].any()
    assert not differs[:, : place.left].any()
    assert not differs[place.bottom :].any()
    # The name stands over the box, in its color.
    assert own[top - 10 : top - 2, left + 2 : left + 40].mean() > 0.4
    assert has(seen, color_of(2))
    assert color_of(2) != color_of(1)


def test_names_lie_over_the_frames_of_all_boxes() -> None:
    low, high = Box(1, 0.4, 0.2, 0.5, 0.9, 0.9), Box(2, 0.9, 0.1, 0.1, 0.95, 0.48)
    alone = input_pane.PANE.draw(_found((low, "cat")), 300, 300)
    both = input_pane.PANE.draw(_found((low, "cat"), (high, "dog")), 300, 300)
    place = fitted(8, 10, inside(300, 300, letters(300)))
    top, left = place.top + place.height // 2, place.left + place.width // 5
    plate = np.s_[top - 10 : top - 1, left + 2 : left + 40]
    np.testing.assert_array_equal(both[plate], alone[plate])


def test_a_box_under_the_mouse_says_what_it_is_and_the_smallest_comes_first() -> None:
    place = fitted(8, 10, inside(300, 300, letters(300)))

    def tip(y: float, x: float, **state: Any) -> str:
        at = round(place.top + y * place.height), round(place.left + x * place.width)
        hit = input_pane.PANE.hit(_found(DOG, CAT, **state), 300, 300, *at)
        assert hit is not None
        return hit.tip

    assert tip(0.6, 0.6) == "dog 0.50"
    assert tip(0.9, 0.6) == "cat 0.88"
    assert tip(0.1, 0.6) == "cat.jpg"
    assert tip(0.6, 0.6, boxes=False) == "cat.jpg"


def test_a_box_at_the_upper_edge_has_its_name_inside() -> None:
    wide = Box(3, 0.5, 0, 0, 1, 1), "a name that is longer than the picture is wide, by far"
    seen = input_pane.PANE.draw(_found(wide), 300, 300)
    place = fitted(8, 10, inside(300, 300, letters(300)))
    own = (seen == np.array(color_of(3))).all(axis=2)
    assert own[place.top : place.top + 10, place.left : place.right].mean() > 0.4
    assert not own[: place.top].any()


def test_a_small_map_is_enlarged_in_squares_in_its_own_range() -> None:
    maps = np.zeros((2, 7, 7), np.float32)
    maps[1] = np.arange(49).reshape(7, 7)
    maps[0] = 1000
    made = detail.PANE.draw(view(maps, State(unit=1, gamma=1)), 400, 300)
    side = 300 - 16
    expected = color_maps(maps[1:], side, side, Boost(gamma=0.5))
    top = int(np.nonzero((made == 255).all(axis=2).any(axis=1))[0].max()) - side + 1
    candidates = [made[t : t + side, 8 : 8 + side] for t in range(15, 45)]
    assert any(np.array_equal(one, expected) for one in candidates), top
    assert has(detail.PANE.draw(view(np.full((1, 2, 2), np.nan)), 400, 300), BROKEN)


def test_a_number_has_its_rank_and_place() -> None:
    values = np.array([1, 5, -2, 3], np.float32).reshape(4, 1, 1)
    seen = scene(entry("fc", 4), labels=("a", "b", "c", "d"))
    for unit_, rank in ((1, "1st"), (3, "2nd"), (0, "3rd"), (2, "4th")):
        made = detail.PANE.draw(view_of(seen, values, State(unit=unit_)), 300, 300)
        ink = line_ink(f"{rank} of 4", 14)  # letters(300)
        light = (made.astype(int).sum(axis=2) > 250).astype(int)
        strip = light[:, 292 - ink.shape[1] + 2 : 292]
        expected = (ink[:, :-2] > 140).astype(int)
        windows = np.lib.stride_tricks.sliding_window_view(strip, expected.shape)[:, 0]
        agree = (windows[:70] == expected).mean(axis=(1, 2)).max()
        assert agree > 0.97
        graph = made[100:280]
        columns = np.nonzero((graph == ACCENT).all(axis=2).any(axis=0))[0]
        assert 8 + unit_ * 71 - 1 <= columns.min() <= columns.max() <= 8 + (unit_ + 1) * 71 + 1


SILENT = {  # a pane, in a state in which it has nothing without a result: what it waits for
    "grid": (grid.PANE, State(), "conv"),
    "grid of diffs": (grid.PANE, State(back="deconv", show_back=True), "deconv to conv"),
    "unit alone": (enlarged.PANE, State(zoom="unit"), "conv"),
    "pass alone": (enlarged.PANE, State(back="guided", zoom="back"), "guided"),
    "grid of weights": (grid.PANE, State(weights=True), "weights"),
    "weights alone": (enlarged.PANE, State(weights=True, zoom="unit"), "weights"),
    "weights in detail": (detail.PANE, State(weights=True), "weights"),
    "detail": (detail.PANE, State(), "conv"),
    "back": (back.PANE, State(back="gradient"), "gradient"),
    "classes": (classes.PANE, State(), "scores"),
}


@pytest.mark.parametrize(("pane", "state", "what"), SILENT.values(), ids=SILENT)
def test_without_a_result_panes_say_what_they_wait_for_or_why_it_does_not_come(
    pane: Pane, state: State, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for module in (grid, enlarged, detail, back, classes, weights):
        monkeypatch.setattr(
            module, "write_note", lambda canvas, room, line, *more: said.append(line)
        )
    shown = view(np.ones((2, 2, 2)), state)
    nothing = replace(shown, frame=None, result=None)
    waiting = replace(shown, result=None)
    failed = replace(waiting, failure="the fan is off; switch it on. Or wait")
    moments = (nothing, waiting, failed)
    draw = Redraw(pane.draw)
    for moment in moments:
        draw(moment, 300, 300)
    assert said == ["no picture yet", f"computing {what} ...", f"no {what}: the fan is off"]


@pytest.mark.parametrize("width", [70, 90, 120, 160, 260])
def test_a_number_and_its_rank_do_not_lie_on_each_other(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[Rect] = []

    def note(canvas: np.ndarray, line: str, top: int, left: int, size: int, *more: object) -> None:
        places.append(Rect(top, left, size, text_width(line, size)))

    def note_right(
        canvas: np.ndarray, line: str, row: Rect, size: int, color: Color, *more: str
    ) -> None:
        if "of" in line:
            wide = text_width(line, size)
            places.append(Rect(row.top, row.right - wide, row.height, wide))

    monkeypatch.setattr(detail, "write", note)
    monkeypatch.setattr(detail, "write_middle", note_right)
    values = np.full((1000, 1, 1), 1.7e-13)
    detail.PANE.draw(view_of(scene(entry("fc", 1000)), values), 120, width)
    value, rank = places
    assert value.right < rank.left or value.bottom <= rank.top


def test_without_a_picture_the_input_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        input_pane, "write_note", lambda canvas, room, line, *more: said.append(line)
    )
    shown = replace(view(np.ones((2, 2, 2)), State()), frame=None, result=None)
    failed = replace(shown, failure="folder x is empty")
    draw = Redraw(input_pane.PANE.draw)
    for moment in (shown, failed):
        draw(moment, 300, 300)
    assert said == ["no picture yet", "no picture: folder x is empty"]


def test_what_is_said_in_an_empty_pane_is_wrapped_and_stays_inside() -> None:
    words, room = "as many words as take a few lines of this", Rect(20, 30, 60, 100)
    canvas = blank(100, 160, WELL)
    write_note(canvas, room, words, 12)
    ink = (canvas != WELL).any(axis=2)
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    assert 20 <= rows.min() <= rows.max() < 80
    assert 30 <= columns.min() <= columns.max() < 130
    written = " ".join(wrapped(words, 12, 100))
    assert written == words
    lines = 1 + np.count_nonzero(np.diff(np.nonzero(ink.any(axis=1))[0]) > 1)
    assert lines == len(wrapped(words, 12, 100)) == 3


def test_scores_that_were_not_asked_for_are_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(classes, "write_note", lambda canvas, room, line, *more: said.append(line))
    shown = view(np.ones((2, 2, 2)), State())
    assert shown.result is not None
    for asked in (True, False):
        request = replace(shown.result.request, scores=asked)
        result = replace(shown.result, request=request, scores=None)
        classes.PANE.draw(replace(shown, result=result), 200, 300)
    assert said == ["no scores", "computing scores ..."]


def test_classes_are_ranked_with_bars_as_long_as_they_are_likely() -> None:
    seen = scene(entry("aux", 3), entry("prob", 3), entry("pool", 3), labels=("x", "y, z", "w"))
    scores = np.array([0.25, 0.5, 0.125], np.float32)
    shown = view_of(seen, np.zeros((3, 1, 1)), scores=scores)
    assert ranked(shown) == [1, 0, 2]
    assert scored(shown) == seen.entries[1]
    made = classes.PANE.draw(shown, 200, 300)
    bar = (made == ACCENT).all(axis=2)
    assert bar.any(axis=0).sum() == (300 - 16) / 2
    assert bar.any(axis=1).sum() == 3
    tips = [classes.PANE.hit(shown, 200, 300, y, 50) for y in range(200)]
    told = list(dict.fromkeys(hit.tip for hit in tips if hit))
    assert told == ["unit 1   y, z   0.5000", "unit 0   x   0.2500", "unit 2   w   0.1250"]
    unlabelled = replace(shown, scene=replace(seen, labels=()))
    assert "unit 1" in classes.PANE.hit(unlabelled, 200, 300, 40, 50).tip  # type: ignore[union-attr]


def test_a_units_pictures_stand_at_their_places_as_large_as_they_can() -> None:
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256, (20, 20, 3)).astype(np.uint8) for _ in range(9)]
    cells = [rng.integers(0, 256, (16, 16, 3)).astype(np.uint8) for _ in range(9)]
    found = tuple(TopImage(f"{k}.png", 9.0 - k, None) for k in range(9))
    top = montage(cells)  # as `deepvis top-images` writes it
    pictures = UnitPictures(optimized=tuple(made), top=top, deconv=top.copy(), found=found)
    shown = replace(view(np.ones((2, 2, 2))), unit=pictures)
    height, width = 600, 330
    drawn = unit.PANE.draw(shown, height, width)
    hits: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for y, x in itertools.product(range(height), range(width)):
        hit = unit.PANE.hit(shown, height, width, y, x)
        if hit is not None:
            assert hit.kind == "picture"
            hits.setdefault((hit.value, hit.index), []).append((y, x))
    sources = {
        **{("optimized", k): one for k, one in enumerate(made)},
        **{(kind, k): one for kind in ("top", "deconv") for k, one in enumerate(cells)},
    }
    assert hits.keys() == sources.keys()
    for key, source in sources.items():
        (top_, left), (bottom, right) = min(hits[key]), max(hits[key])
        side = bottom + 1 - top_
        assert right + 1 - left == side
        part = drawn[top_ : bottom + 1, left : right + 1]
        np.testing.assert_array_equal(part, resize_image(source, side, side))
    # 27 squares below three lines of text: no other equal side of whole rows is larger
    sides = {max(at)[0] - min(at)[0] + 1 for at in hits.values()}
    room = inside(height, width, letters(width))
    fits = [
        side
        for side in range(1, 300)
        if 3 * (math.ceil(9 / ((room.width + 3) // (side + 3))) * (side + 3))
        <= room.height - 3 * row_height(letters(width) - 1)
    ]
    assert sides == {max(fits)}


def test_where_there_is_little_room_the_last_pictures_are_left_out() -> None:
    picture = np.full((30, 30, 3), (1, 2, 200), np.uint8)
    known = UnitPictures(optimized=(picture,) * 9, top=picture, deconv=picture)
    shown = replace(view(np.ones((2, 2, 2))), unit=known)

    def kinds(height: int, width: int) -> list[str]:
        hits = (
            unit.PANE.hit(shown, height, width, y, x)
            for y, x in itertools.product(range(0, height, 3), range(0, width, 3))
        )
        return list(dict.fromkeys(hit.value for hit in hits if hit is not None))

    assert kinds(600, 330) == ["optimized", "top", "deconv"]
    assert kinds(230, 200) == ["optimized", "top"]
    assert kinds(130, 140) == ["optimized"]
    assert kinds(60, 60) == ["optimized"], "however small"


def test_the_captions_of_a_unit_s_pictures_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, int, int]] = []

    def note(
        canvas: np.ndarray, line: str, rect: Rect, size: int, color: Color, *more: str, **kw: bool
    ) -> int:
        written.append((line, text_width(line, size), rect.width))
        return text_width(line, size)

    for module in (unit, widgets):
        monkeypatch.setattr(module, "write_middle", note)
    picture = np.zeros((20, 20, 3), np.uint8)
    long = "silent behind a ReLU; below it: fire8/expand3x3_raw, unit 119"
    known = UnitPictures(optimized=(picture,), top=picture, deconv=picture, note=long)
    seen = scene(entry("a/very/long/name/of/a/layer", 3, 2, 2))
    shown = replace(view_of(seen, np.ones((3, 2, 2))), unit=known)
    for width in (180, 256, 318, 554):
        written.clear()
        unit.PANE.draw(shown, 600, width)
        assert all(wide <= room for _, wide, room in written), written
        said = " ".join(line for line, _, _ in written)
        assert long in said
        assert "top images deconv of the top images" in said


def test_a_units_pictures_are_all_there() -> None:
    def flat(*color: int) -> np.ndarray:
        return np.full((20, 20, 3), color, np.uint8)

    made = [flat(10 + i, 200, 30) for i in range(9)]
    pictures = UnitPictures(optimized=tuple(made), top=flat(1, 2, 200), deconv=flat(200, 1, 2))
    shown = replace(view(np.ones((2, 2, 2))), unit=pictures)
    for height, width in ((900, 300), (300, 900)):
        drawn = unit.PANE.draw(shown, height, width)
        extents = []
        for picture in made:
            rows, columns = np.nonzero((drawn == picture[0, 0]).all(axis=2))
            box = (np.ptp(rows) + 1, np.ptp(columns) + 1)
            assert len(rows) == box[0] * box[1], "it lies whole, and nothing on it"
            extents.append(box)
        assert len(set(extents[:9])) == 1


def test_statistics_stand_below_the_pictures_where_there_is_room() -> None:
    bars = Bars((1, 0, 4), (0.0, 1.0, 2.0, float("inf")))
    known = UnitStatistics(5, 1.5, 2.0, 0.25, 0.0, 0.0, 9.0, True, bars, (), ((3, -0.5),))
    picture = np.full((30, 30, 3), (1, 2, 200), np.uint8)
    shown = replace(view(np.ones((2, 2, 2))), unit=UnitPictures(top=picture, statistics=known))
    width = 316
    drawn = unit.PANE.draw(shown, 500, width)
    assert has(drawn, TROUBLE), "it is dead"
    well = np.nonzero((drawn == WELL).all(axis=2)[:, 150])[0]
    well = well[(well > 9) & (well < 490)]  # corners are as dark
    bar_rows = [
        (drawn[well.min() : well.max() + 1, x] == FAINT).all(axis=1).sum() for x in (20, 290)
    ]
    assert np.nonzero((drawn == (1, 2, 200)).all(axis=2))[0].max() < well.min()
    assert bar_rows == [(well.max() + 1 - well.min()) // 4, well.max() + 1 - well.min()]
    middle = int(well.mean())
    tips = [
        hit.tip
        for x in range(width)
        if (hit := unit.PANE.hit(shown, 500, width, middle, x)) is not None
    ]
    assert list(dict.fromkeys(tips)) == [
        "1 image whose maximum is 0",
        "0 images whose maximum is 1.00 to 2.00",
        "4 images whose maximum is at least 2.00",
    ]
    assert [tips.count(tip) for tip in dict.fromkeys(tips)] == [100] * 3
    low = unit.PANE.draw(shown, 150, width)
    assert not has(low[10:-10, 10:-10], WELL), "pictures come first"


def test_cells_of_a_montage_that_hold_no_image_are_none() -> None:
    found = tuple(TopImage(f"{k}.png", 5.0 - k, None, "cat, puss") for k in range(3))
    picture = np.full((25, 40, 3), (1, 2, 200), np.uint8)
    pictures = UnitPictures(top=picture, found=found, columns=2)
    shown = replace(view(np.ones((2, 2, 2))), unit=pictures)
    drawn = unit.PANE.draw(shown, 400, 300)
    rows = np.nonzero((drawn == (1, 2, 200)).all(axis=2))[0]
    hits = [
        hit
        for y, x in itertools.product(range(400), range(300))
        if (hit := unit.PANE.hit(shown, 400, 300, y, x)) is not None
    ]
    assert list(dict.fromkeys(hit.tip for hit in hits)) == [
        "1: 0.png   cat   5.00",
        "2: 1.png   cat   4.00",
        "3: 2.png   cat   3.00",
    ]
    assert 0.95 * len(hits) < len(rows) <= len(hits), "what is drawn can be clicked"


def test_the_image_in_the_making_has_a_bar_of_its_progress() -> None:
    working = np.full((20, 20, 3), (0, 99, 0), np.uint8)
    shown = replace(
        view(np.ones((2, 2, 2))), unit=UnitPictures(working=working, progress=0.25, note="no")
    )
    drawn = unit.PANE.draw(shown, 400, 300)
    side = np.nonzero((drawn == (0, 99, 0)).all(axis=2).any(axis=0))[0]
    bar = np.nonzero((drawn == ACCENT).all(axis=2).any(axis=0))[0]
    assert bar.min() == side.min()
    assert len(bar) == round(0.25 * len(side))


@pytest.mark.parametrize(
    ("seconds", "first", "told"),
    [
        (28.317, True, "28317 ms (first pass)"),
        (0.0123, False, "12 ms"),
        (0.0002, False, "< 1 ms"),
        (0.0, False, "0 ms"),  # nothing has been computed
    ],
)
def test_how_long_a_pass_took(seconds: float, first: bool, told: str) -> None:
    shown = replace(view(np.ones((2, 2, 2))), status=Status(seconds=seconds, first=first))
    assert told in [words for words, _ in status.right_pieces(shown)]
    timed = replace(shown, state=State(timing=True))
    assert f"net {told}, drawing 0.0 ms" in [words for words, _ in status.right_pieces(timed)]


def test_the_status_says_what_there_is_to_say() -> None:
    shown = view(np.ones((2, 2, 2)))
    plain = status.PANE.draw(shown, 27, 1200)
    trouble = replace(shown, status=Status(message="no camera", trouble=True))
    assert has(status.PANE.draw(trouble, 27, 1200), TROUBLE)
    assert not has(plain, TROUBLE)
    recording = replace(shown, status=Status(recording=True))
    assert has(status.PANE.draw(recording, 27, 1200), TROUBLE)
    broken = view([[[np.nan, 1]]])
    assert any("1 values are not finite" in words for words, _ in status.left_pieces(broken))
    modes = [
        status.mode(replace(shown, state=state))[0]
        for state in (
            State(),
            State(back="deconv"),
            State(back="deconv", show_back=True),
            State(back="grad_cam"),
            State(weights=True),
            State(optimized=True),
        )
    ]
    assert modes == ["fwd", "fwd + deconv", "back", "fwd + Grad-CAM", "weights", "optimized"]
    hit = status.PANE.hit(shown, 27, 1200, 10, 1195)
    assert hit is not None
    assert (hit.kind, hit.value) == ("command", "help")


@pytest.mark.parametrize("size", [(800, 600), (1280, 800), (1600, 1000)])
def test_every_line_of_the_help_is_there(size: tuple[int, int]) -> None:
    width, height = size
    groups = [
        (f"Group {i}", [(f"key{j}", f"what key {j} does, in words") for j in range(8)])
        for i in range(5)
    ]
    made = help_picture(groups, height, width)
    chips = [area for area in _areas((made == RAISED).all(axis=2)) if area > 100]
    assert len(chips) == 40, "letters leave islands in their keys; none is as large"
    edge = np.concatenate([made[:2].reshape(-1, 3), made[-2:].reshape(-1, 3)])
    assert edge.max() < 80, "nothing runs out"


@pytest.mark.parametrize("size", [(304, 224), (464, 344), (624, 464), (1180, 700), (2400, 1300)])
def test_the_whole_help_is_there_in_any_window_and_nothing_is_cut(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    width, height = size
    groups = [*help_table(), mouse_help()]
    pages = help_pages(groups, height, width)
    assert (pages == 1) == (width > 1000)
    written: list[str] = []
    taken = np.zeros((height, width), int)

    def note(
        canvas: np.ndarray, line: str, rect: Rect, size: int, color: Color, *more: str, **kw: bool
    ) -> None:
        wide = text_width(line, size)
        assert wide <= rect.width, f"{line!r} is cut"
        middle = rect.top + rect.height // 2
        left = rect.right - wide if "right" in more else rect.left
        part = taken[middle - size // 2 : middle + size // 2, left : left + wide]
        assert part.shape == (size // 2 * 2, wide), f"{line!r} runs out"
        assert not part.any(), f"{line!r} lies on another"
        part += 1
        written.append(line)

    monkeypatch.setattr(help_pane, "write_middle", note)
    for page in range(pages):
        taken[:] = 0
        help_picture(groups, height, width, page)
    said = " ".join(written)
    for _, lines in groups:
        for keys, words in lines:
            assert f"{keys} {words}" in said
    assert written.count("click") == sum(keys == "click" for keys, _ in mouse_help()[1])


def test_a_group_that_is_too_long_gets_smaller_letters() -> None:
    made = help_picture([("All", [("k", "what it does")] * 26)], 480, 700)
    chips = [area for area in _areas((made == RAISED).all(axis=2)) if area > 60]
    assert len(chips) == 26
    assert made[-4:].max() < 80


def _areas(mask: np.ndarray) -> list[int]:
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [int(stats[i, cv2.CC_STAT_AREA]) for i in range(1, count)]


@pytest.mark.parametrize("pane", ALL)
def test_no_pane_minds_having_nothing_or_no_room(pane) -> None:
    full = replace(
        _backward("heat"), unit=UnitPictures(optimized=(np.zeros((4, 4, 3), np.uint8),) * 9)
    )
    for shown in (full, replace(full, frame=None, result=None, unit=UnitPictures())):
        for height, width in ((1, 1), (10, 200), (200, 10), (33, 47), (300, 300)):
            assert pane.PANE.draw(shown, height, width).shape == (height, width, 3)
            pane.PANE.hit(shown, height, width, height // 2, width // 2)


def test_a_held_source_is_told_before_there_is_a_pass() -> None:
    held = view(np.ones((2, 2, 2)), State(unit=1, source=(0, 0)))
    told = [words for words, color in status.left_pieces(held) if color == SOURCE]
    assert told == [f"backward will start from {held.scene.entries[0].name} 0"]
    free = replace(held, state=replace(held.state, source=None))
    assert not [color for _, color in status.left_pieces(free) if color == SOURCE]

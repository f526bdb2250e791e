"""What drives a unit in the grid's pane: maps by their signs, bars, pictures, clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, has, scene, view_of

from deepvis_caffe.attribution.driver_results import Driver
from deepvis_caffe.viewer.panes import drivers
from deepvis_caffe.viewer.panes.colors import NEGATIVE, POSITIVE
from deepvis_caffe.viewer.panes.grid import PANE
from deepvis_caffe.viewer.panes.redraw import Redraw
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.mouse import Hit, click
from deepvis_caffe.viewer.state.request import UnitDrivers
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.units import DriverPictures

SIZE = (520, 720)  # (height, width) of the pane
LETTERS = wide_letters(SIZE[1])
ROOM = inside(*SIZE, LETTERS)
SCENE = scene(entry("low", 9, 2, 2), entry("high", 5, 2, 2), labels=("a", "b", "c", "tree", "e"))
GREEN = np.full((10, 10, 3), (10, 200, 10), np.uint8)
PINK = np.full((10, 30, 3), (230, 20, 150), np.uint8)
PICTURES = DriverPictures({(0, 2): GREEN}, {(0, 2): PINK, (0, 7): PINK}, True, True)


def driver(unit: int, share: float, *map_: float, layer: str = "low") -> Driver:
    values = np.array(map_ or (share, 0, 0, 0), np.float32).reshape(2, 2)
    return Driver(layer, unit, 10 * share, share, values, np.abs(values))


FOUND = UnitDrivers(
    raising=((driver(7, 0.5, 0, 4, -1, 2), (0, 7)), (driver(2, 0.25), (0, 2))),
    lowering=((driver(4, -0.125), (0, 4)), (driver(1, -0.01, layer="data"), None)),
    raised=0.9,
    lowered=-0.2,
)


def shown(found: UnitDrivers | None = FOUND, **state: object) -> View:
    """A view of unit 3 of `high` and what drives it."""
    made = State(layer=1, unit=3, drivers=True, **state)  # type: ignore[arg-type]
    return view_of(SCENE, np.ones((5, 2, 2)), made, drivers=found)


def cards(view: View) -> list[drivers.Card]:
    _, rest = drivers._split(ROOM, LETTERS)
    both = zip((True, False), drivers._groups(rest), strict=True)
    return [one for raises, group in both for one in drivers._cards(view, group, LETTERS, raises)]


def test_a_map_has_the_colors_of_its_signs() -> None:
    made = PANE.draw(shown(), *SIZE)
    first = cards(shown())[0]
    half = first.map.height // 2
    colors = {
        (row, column): made[
            first.map.top + row * half + half // 2, first.map.left + column * half + half // 2
        ].tolist()
        for row, column in np.ndindex(2, 2)
    }
    assert colors[0, 0] == [0, 0, 0]
    assert colors[0, 1] == list(POSITIVE), "the largest magnitude"
    red, _, blue = colors[1, 0]
    assert blue > red > 0
    red, _, blue = colors[1, 1]
    assert 255 > red > blue > 0


def test_bars_are_as_long_as_contributions_are_large() -> None:
    view = shown()
    made = PANE.draw(view, *SIZE)
    lengths = []
    for card in cards(view):
        color = POSITIVE if card.driver.contribution > 0 else NEGATIVE
        part = made[card.words.top : card.words.bottom, card.words.left : card.words.right]
        lengths.append((part == color).all(axis=2).sum(axis=1).max())
    whole = cards(view)[0].words.width
    expected = [whole * share for share in (1, 0.5, 0.25, 0.02)]
    assert lengths[:3] == pytest.approx(expected[:3], abs=1)


def test_a_click_goes_down_to_what_lies_there() -> None:
    view, found = shown(), []
    for card in cards(view):
        for at in (card.map, card.words):
            hit = PANE.hit(view, *SIZE, at.top + at.height // 2, at.left + at.width // 2)
            assert hit is not None
            found.append((hit.kind, hit.index, hit.value))
            assert hit.tip.startswith(f"{card.driver.layer} {card.driver.unit}   ")
    assert (
        found[::2]
        == found[1::2]
        == [
            ("driver", 7, "low"),
            ("driver", 2, "low"),
            ("driver", 4, "low"),
            ("nothing", 0, ""),  # the image's own channel
        ]
    )
    assert hit.tip == "data 1   −1.0% of the response   max 0.0100"


def test_a_card_has_its_map_its_optimized_image_and_its_top_images() -> None:
    without = PANE.draw(shown(), *SIZE)
    assert all(card.optimized is None and card.top is None for card in cards(shown()))
    view = replace(shown(), driver_pictures=PICTURES)
    made = PANE.draw(view, *SIZE)
    assert not has(without, (10, 200, 10))
    assert not has(without, (230, 20, 150))

    def counts(rect: drivers.Rect | None, color: tuple[int, int, int]) -> int:
        assert rect is not None
        part = made[rect.top : rect.bottom, rect.left : rect.right]
        return int((part == color).all(axis=2).sum())

    first, second, *_ = cards(view)  # units 7 and 2
    assert second.optimized is not None
    assert second.top is not None
    assert counts(second.optimized, (10, 200, 10)) == second.optimized.height**2, "all of it"
    assert counts(first.optimized, (10, 200, 10)) == 0, "it has none"
    high = min(second.top.height, second.top.width / 3)  # three side by side
    assert counts(second.top, (230, 20, 150)) == pytest.approx(3 * high**2, rel=0.1)
    assert counts(first.top, (230, 20, 150)) == counts(second.top, (230, 20, 150))
    assert second.words.bottom <= second.top.top


def test_there_is_room_for_top_images_alone() -> None:
    view = replace(shown(), driver_pictures=DriverPictures(top={(0, 2): PINK}, has_top=True))
    PANE.draw(view, *SIZE)
    assert all(card.optimized is None and card.top is not None for card in cards(view))


def test_the_way_is_shown_and_leads_back_up() -> None:
    view = shown(trail=((1, 0), (0, 8)))
    top, _ = drivers._split(ROOM, LETTERS)
    steps = drivers._steps(view, top, LETTERS)
    assert [(step.ago, step.name) for step in steps] == [(2, "high 0 a"), (1, "low 8")]
    for step in steps:
        at = step.rect
        hit = PANE.hit(view, *SIZE, at.top + 2, at.left + at.width // 2)
        assert hit == Hit("step", step.ago, tip=f"back up to {step.name}")
    long = shown(trail=((1, 0),) * 30)
    few = drivers._steps(long, top, LETTERS)
    assert 1 < len(few) < 30
    assert few[-1].ago == 1
    assert few[-1].rect.right <= ROOM.right


def test_the_heading_says_where_they_are_and_a_click_changes_that() -> None:
    for reach, said, other in (
        ("stage", "the stage below", "the nearest layers"),
        ("nearest", "the nearest layers", "the stage below"),
    ):
        view = shown(reach=reach)
        assert drivers.title(view)[:2] == ("high 3", f"tree   what drives it in {said}")
        top, _ = drivers._split(ROOM, LETTERS)
        line, chip = drivers._with_chip(view, top, LETTERS)
        assert line.right < chip.left
        hit = PANE.hit(view, *SIZE, chip.top + 2, chip.right - 3)
        assert hit == Hit("command", value="reach", tip=f"show {other} (-)")
        changed = click(view.state, SCENE, hit)
        assert changed == replace(view.state, reach="nearest" if reach == "stage" else "stage")


def test_it_says_why_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(drivers, "write_note", lambda canvas, rect, line, size: said.append(line))
    PANE.draw(shown(None), *SIZE)
    PANE.draw(shown(UnitDrivers(why_not="layer 'best' has no gradient")), *SIZE)
    PANE.draw(shown(UnitDrivers()), *SIZE)
    PANE.draw(replace(shown(), state=State(layer=1, unit=2, drivers=True)), *SIZE)  # of another
    assert said == [
        "computing what drives it ...",
        "layer 'best' has no gradient",
        "nothing drives it here: it is off everywhere in this picture",
        "computing what drives it ...",
    ]


def test_a_number_stands_in_place_of_its_map() -> None:
    one = Driver("low", 7, 5.0, 0.5, np.float32(5).reshape(()), np.float32(2).reshape(()))
    view = shown(UnitDrivers(raising=((one, (0, 7)),)))
    card = cards(view)[0]
    part = PANE.draw(view, *SIZE)[card.map.top : card.map.bottom, card.map.left : card.map.right]
    assert len(np.unique(part)) > 2, "letters"
    hit = PANE.hit(view, *SIZE, card.map.top + 3, card.map.left + 3)
    assert hit is not None
    assert hit.tip == "low 7   +50% of the response   activation 2.00"


def test_the_pane_is_drawn_again_for_what_it_shows_and_nothing_else() -> None:
    draw = Redraw(PANE.draw)
    view = shown()
    draw(view, *SIZE)
    assert draw.is_current(replace(view, state=replace(view.state, labels=False)), *SIZE)
    assert not draw.is_current(replace(view, driver_pictures=PICTURES), *SIZE)
    assert view.result is not None
    other = replace(view, result=replace(view.result, drivers=UnitDrivers()))
    assert not draw.is_current(other, *SIZE)


@pytest.mark.parametrize("size", [(1, 1), (40, 90), (120, 300), (300, 120), (1200, 2000)])
def test_any_room_will_do_and_cards_lie_apart_inside(size: tuple[int, int]) -> None:
    view = replace(shown(trail=((1, 0),)), driver_pictures=PICTURES)
    assert PANE.draw(view, *size).shape == (*size, 3)
    letters = wide_letters(size[1])
    _, rest = drivers._split(inside(*size, letters), letters)
    bottoms = [0]
    for raises, group in zip((True, False), drivers._groups(rest), strict=True):
        for card in drivers._cards(view, group, letters, raises):
            assert card.whole.bottom <= group.bottom
            assert card.whole.top >= (bottoms[-1] if raises else 0)
            bottoms.append(card.whole.bottom)
    for y, x in np.ndindex(7, 7):
        PANE.hit(view, *size, y * size[0] // 7, x * size[1] // 7)


def test_shares_in_words() -> None:
    assert [drivers.share(one) for one in (0.5, -0.125, 0.0312, -0.0004, 0, 12.3, 0.0996)] == [
        *("+50%", "−12%", "+3.1%", "0%", "0%", "+1230%", "+10%"),
    ]

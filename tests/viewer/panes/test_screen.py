"""The screen: panes where the layout has them, drawn anew only when they have to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, has, scene, view_of

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import ACCENT, TROUBLE
from deepvis_caffe.viewer.panes.draw import blank
from deepvis_caffe.viewer.panes.layout import layout
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.screen import PANES, Screen
from deepvis_caffe.viewer.panes.search import search_places
from deepvis_caffe.viewer.panes.view import Hover, Status, View
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.units import UnitPictures

SIZE = (1200, 700)
LAYERS = scene(entry("conv", 6, 4, 4), entry("fc", 3), labels=("ant", "bee", "cat"))
ONES = np.ones((6, 4, 4), np.float32)
SHOWN = set(PANES) - {"enlarged"}
HELP = [("Move", [("left right", "the next layer or unit"), ("h", "this")])]


def _view(**state: object) -> View:
    rng = np.random.default_rng(0)
    made = view_of(
        LAYERS,
        rng.random((6, 4, 4)),
        State(back="deconv", **state),  # type: ignore[arg-type]
        scores=np.array([0.2, 0.7, 0.1], np.float32),
        back=rng.normal(size=(3, 8, 10)).astype(np.float32),
    )
    return replace(made, status=Status(rate=20, source="cat.jpg"))


class Counting:
    """Real panes that count how often they are drawn."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.panes = {name: pane._replace(draw=self._counted(pane)) for name, pane in PANES.items()}

    def _counted(self, pane: Pane):
        def draw(view: View, height: int, width: int) -> Picture:
            self.drawn.append(pane.name)
            return pane.draw(view, height, width)

        return draw

    def take(self) -> set[str]:
        drawn, self.drawn = self.drawn, []
        assert len(drawn) == len(set(drawn))
        return set(drawn)


def test_a_screen_is_its_panes_in_their_places() -> None:
    view = _view()
    made = Screen().draw(view, *SIZE)
    assert made.shape == (700, 1200, 3)
    for name, rect in layout(*SIZE, view.state).items():
        part = made[rect.top : rect.bottom, rect.left : rect.right]
        np.testing.assert_array_equal(part, PANES[name].draw(view, rect.height, rect.width))


@pytest.mark.parametrize(
    ("change", "drawn"),
    [
        ({}, set()),
        ({"hover": Hover(300, 500)}, set()),
        ({"state": {"scroll": 0}}, {"layers"}),
        ({"state": {"cursor": "units"}}, {"layers"}),
        ({"state": {"gamma": 1}}, {"grid", "detail", "status"}),
        ({"state": {"individual": 1}}, {"grid", "status"}),
        ({"state": {"diff_style": "norm"}}, {"back"}),
        ({"state": {"diff_style": "heat"}}, {"back"}),
        ({"state": {"unit": 2}}, {"grid", "detail", "back", "unit", "status"}),
        ({"state": {"timing": True}}, {"status"}),
        ({"status": Status(rate=21, source="cat.jpg")}, {"status"}),
        ({"status": Status(rate=20.2, source="cat.jpg")}, set()),  # it says no more than 20
        ({"unit": UnitPictures(note="later")}, {"unit"}),
        ({"optimized": {1: blank(4, 4, ACCENT)}}, set()),  # nobody looks at them
        (
            {"result": {"number": 2, "maps": ONES, "back": ONES[:3]}},
            {"input", "grid", "detail", "back", "classes"},
        ),
    ],
)
def test_only_what_reads_a_change_is_drawn_again(change: dict, drawn: set[str]) -> None:
    counting = Counting()
    screen, view = Screen(panes=counting.panes), _view()
    first = screen.draw(view, *SIZE)
    assert counting.take() == SHOWN
    assert screen.draw(view, *SIZE) is first, "nothing has changed"
    for part in ("state", "result"):
        if isinstance(change.get(part), dict):
            change = {**change, part: replace(getattr(view, part), **change[part])}
    changed = replace(view, **change)
    again = screen.draw(changed, *SIZE)
    assert counting.take() == drawn
    np.testing.assert_array_equal(again, Screen().draw(changed, *SIZE))
    np.testing.assert_array_equal(screen.draw(view, *SIZE), first)


def test_a_drawing_that_is_stopped_goes_on_where_it_was() -> None:
    counting, asked = Counting(), []
    screen, view = Screen(panes=counting.panes), _view()
    assert screen.draw(view, *SIZE, lambda: asked.append(1) or len(asked) == 4) is None
    some = counting.take()
    assert len(some) == 3
    np.testing.assert_array_equal(screen.draw(view, *SIZE), Screen().draw(view, *SIZE))
    assert counting.take() == SHOWN - some


def _fails(*given: object) -> None:
    raise ZeroDivisionError("no spread")


@pytest.mark.parametrize(
    ("broken", "says_so"),
    [
        ({"draw": _fails}, True),
        ({"draw": lambda view, height, width: blank(height, width + 1, ACCENT)}, True),
        ({"hit": _fails}, False),
    ],
    ids=["draw", "size", "hit"],
)
def test_a_pane_that_fails_says_so_and_the_others_live_on(
    broken: dict, says_so: bool, broken_panes: list[str]
) -> None:
    panes = {**PANES, "grid": PANES["grid"]._replace(**broken)}
    screen, view = Screen(panes=panes), _view()
    rect = layout(*SIZE, view.state)["grid"]
    here = slice(rect.top, rect.bottom), slice(rect.left, rect.right)
    whole = Screen().draw(view, *SIZE)
    for _ in range(3):
        made = screen.draw(view, *SIZE).copy()
        assert has(made[here], TROUBLE) == says_so
        assert np.array_equal(made[here], whole[here]) != says_so
        made[here] = whole[here]
        np.testing.assert_array_equal(made, whole)
        hit = screen.hit(view, rect.top + rect.height // 2, rect.left + rect.width // 2)
        failed = Hit("nothing", tip="ZeroDivisionError: no spread")
        assert (hit == failed) == ("hit" in broken)
    assert broken_panes == ["the pane 'grid' failed"]  # once
    broken_panes.clear()


def test_another_size_or_layout_draws_panes_of_another_size() -> None:
    counting = Counting()
    screen, view = Screen(panes=counting.panes), _view()
    screen.draw(view, *SIZE)
    counting.take()
    screen.draw(view, 1700, 950)
    assert counting.take() == SHOWN, "no pane has the size that it had"
    less = replace(view, state=replace(view.state, labels=False))
    made = screen.draw(less, 1700, 950)
    before, after = (
        {name: (rect.height, rect.width) for name, rect in layout(1700, 950, one.state).items()}
        for one in (view, less)
    )
    resized = {name for name, size in after.items() if size != before[name]}
    assert counting.take() == resized
    assert 0 < len(resized) < len(after), "the others are in another place at most"
    np.testing.assert_array_equal(made, Screen().draw(less, 1700, 950))


def test_hits_are_the_panes_own() -> None:
    screen, view = Screen(), _view()
    screen.draw(view, *SIZE)
    rects = layout(*SIZE, view.state)
    for name, kind in (("grid", "unit"), ("layers", "layer"), ("back", "back")):
        rect = rects[name]
        found = {
            (y, x): PANES[name].hit(view, rect.height, rect.width, y, x)
            for y in range(0, rect.height, 7)
            for x in range(0, rect.width, 7)
        }
        assert kind in {hit.kind for hit in found.values() if hit}
        for (y, x), hit in found.items():
            assert screen.hit(view, rect.top + y, rect.left + x) == hit
    assert screen.hit(view, 0, 0) is None
    assert screen.hit(view, -5, 10**6) is None


def test_the_tip_is_where_the_mouse_is_and_inside() -> None:
    view, screen = _view(), Screen()
    plain = screen.draw(view, *SIZE)
    rect = layout(*SIZE, view.state)["layers"]
    for y, x in ((rect.top + rect.height // 2, rect.left + 30), (SIZE[1] - 1, SIZE[0] - 1)):
        made = screen.draw(replace(view, hover=Hover(y, x)), *SIZE)
        rows, columns = np.nonzero((made != plain).any(axis=2))
        assert len(rows) > 500
        assert abs(rows.mean() - y) < 60
        assert columns.max() >= x or columns.max() > SIZE[0] - 20
    np.testing.assert_array_equal(screen.draw(view, *SIZE), plain)


def test_the_help_lies_over_everything_and_takes_the_mouse() -> None:
    screen, view = Screen(HELP), _view(help=True)
    made = screen.draw(replace(view, hover=Hover(300, 500)), *SIZE)
    assert has(made, ACCENT), "the group's title"
    assert screen.hit(view, 300, 500) == Hit("command", value="help")
    closed = replace(view, state=replace(view.state, help=False))
    plain = screen.draw(closed, *SIZE)
    np.testing.assert_array_equal(plain, Screen().draw(closed, *SIZE))
    assert made[:20].max() <= plain[:20].max() // 3 + 1
    hit = screen.hit(closed, 300, 500)
    assert hit is not None
    assert hit.kind == "unit"


@pytest.mark.parametrize("size", [(1, 1), (5, 400), (90, 60), (200, 150), (430, 270), (640, 480)])
@pytest.mark.parametrize("help", [False, True])
def test_no_window_is_too_small(size: tuple[int, int], help: bool) -> None:
    screen, view = Screen(HELP), replace(_view(help=help), hover=Hover(3, 3))
    made = screen.draw(view, *size)
    assert made.shape == (size[1], size[0], 3)
    bare = replace(view, frame=None, result=None)
    assert Screen(HELP).draw(bare, *size).shape == made.shape


def test_a_pane_may_be_ones_own() -> None:
    red = np.array((250, 0, 0), np.uint8)
    grid = Pane(
        "grid",
        lambda view, height, width: np.full((height, width, 3), red),
        lambda view, height, width, y, x: Hit("nothing", tip=f"{y} {x}"),
    )
    screen, view = Screen(panes={"grid": grid}), _view()
    made, rect = screen.draw(view, *SIZE), layout(*SIZE, _view().state)["grid"]
    assert (made[rect.top : rect.bottom, rect.left : rect.right] == red).all()
    assert screen.hit(view, rect.top + 2, rect.left + 3) == Hit("nothing", tip="2 3")


def test_what_a_search_finds_is_listed_and_hit_where_it_stands() -> None:
    seen = scene(entry("conv", 6, 4, 4), entry("fc", 3), labels=("ant", "bee", "antelope"))
    view = view_of(seen, np.zeros((6, 4, 4)), State(search="ant"))
    made = Screen().draw(view, *SIZE)
    rows: dict[int, list[int]] = {}
    screen = Screen()
    screen.draw(view, *SIZE)
    for y in range(SIZE[1]):
        hit = screen.hit(view, y, SIZE[0] // 2)
        assert hit is not None
        assert hit.kind == "match"
        rows.setdefault(hit.index, []).append(y)
    assert set(rows) == {-1, 0, 1}
    marked = [y for y in range(SIZE[1]) if (made[y] == ACCENT).all(axis=1).sum() > 100]
    assert marked
    assert set(marked) <= set(rows[0])
    second = screen.draw(replace(view, state=replace(view.state, match=1)), *SIZE)
    marked = [y for y in range(SIZE[1]) if (second[y] == ACCENT).all(axis=1).sum() > 100]
    assert marked
    assert set(marked) <= set(rows[1])
    none = replace(view, state=replace(view.state, search="xyz"))
    assert not np.array_equal(screen.draw(none, *SIZE), made)
    hit = screen.hit(none, *(side // 2 for side in (SIZE[1], SIZE[0])))
    assert hit == Hit("match", -1)


@pytest.mark.parametrize("size", [(320, 240), (1280, 800), (3840, 2160)])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_a_search_has_room_in_any_window(size: tuple[int, int], count: int) -> None:
    width, height = size
    room, rows = search_places(height, width, count)
    assert rows
    for row in rows:
        assert room.top < row.top
        assert row.bottom <= room.bottom <= height
        assert 0 <= room.left <= row.left < row.right <= room.right <= width

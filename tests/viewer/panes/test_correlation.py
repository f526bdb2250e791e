"""The correlation in the grid's pane: every pixel of a small one, and what lies at each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, has, scene, view_of

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.figures.correlation_colors import STILL, colors, levels_of
from deepvis_caffe.viewer.panes import correlation
from deepvis_caffe.viewer.panes.colors import ACCENT, EMPTY
from deepvis_caffe.viewer.panes.grid import PANE
from deepvis_caffe.viewer.panes.partners import signed
from deepvis_caffe.viewer.panes.redraw import Redraw
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import State
from deepvis_caffe.viewer.state.units import Partner, Relation

SIZE = (420, 520)  # (height, width) of the pane
LETTERS = wide_letters(SIZE[1])
ROOM = inside(*SIZE, LETTERS)
NAN = float("nan")
# 0 with 2, 1 against both, 3 never changes.
VALUES = np.array(
    [[1, -0.5, 0.8, NAN], [-0.5, 1, -0.25, NAN], [0.8, -0.25, 1, NAN], [NAN, NAN, NAN, NAN]],
    np.float32,
)
FOUND = Correlation(VALUES, (1, 0, 2, 3), 480)
LABELS = ("cat, tabby", "dog", "", "car")


def shown(unit: int = 0, found: Correlation | None = FOUND, **more: object) -> View:
    """A view of it, one unit selected."""
    units = len(found.values) if found else 4
    state = State(correlation=True, unit=unit, **more)  # type: ignore[arg-type]
    labels = LABELS if units == 4 else ()
    view = view_of(scene(entry("conv", units, 2, 2), labels=labels), np.ones((units, 2, 2)), state)
    pairs = (*found.together(unit, 6), *found.apart(unit, 6)) if found else ()
    return replace(view, relation=Relation(found, (), tuple(Partner(*one) for one in pairs)))


def expected_matrix(order: tuple[int, ...], side: int) -> np.ndarray:
    """Squares, drawn pixel by pixel."""
    units = len(order)
    made = np.zeros((side, side, 3), np.uint8)
    for y in range(side):
        for x in range(side):
            row, column = (order[int((at + 0.5) / side * units)] for at in (y, x))
            r = VALUES[row, column]
            made[y, x] = STILL if np.isnan(r) else colors()[101 + round(100 * float(r))]
    return made


@pytest.mark.parametrize("by_number", [False, True])
def test_every_pixel_of_four_units(by_number: bool) -> None:
    order = (0, 1, 2, 3) if by_number else FOUND.order
    made = PANE.draw(shown(2, by_number=by_number), *SIZE)
    square = correlation.places_of(ROOM, LETTERS).matrix
    part = made[square.top : square.bottom, square.left : square.right]
    expected = expected_matrix(order, square.width)
    lines = np.nonzero((part[:, 0] == ACCENT).all(axis=1))[0]
    rows = [y for y in range(square.height) if order[int((y + 0.5) / square.height * 4)] == 2]
    assert lines.tolist() == [rows[0] - 1, rows[-1] + 1], "beside the selected row, not on it"
    expected[lines] = expected[:, lines] = ACCENT
    np.testing.assert_array_equal(part, expected)
    # The row once more, below: the colors of 2 with each.
    row = correlation.places_of(ROOM, LETTERS).row
    middles = [row.left + (2 * place + 1) * row.width // 8 for place in range(4)]
    levels = [levels_of(VALUES[2, unit]) for unit in order]
    np.testing.assert_array_equal(made[row.top + 2, middles], colors()[levels])


def test_more_units_than_pixels_are_averaged_over_pairs_that_have_an_r() -> None:
    values = np.full((6, 6), 0.2, np.float32)
    values[:2, :2] = [[1.0, 0.6], [0.6, 1.0]]
    values[2:4, 0] = values[0, 2:4] = -0.4
    values[4:] = values[:, 4:] = NAN
    values[4, 0] = values[0, 4] = 0.5  # of its four pairs the only one
    found = Correlation(values, tuple(range(6)))
    got = correlation.picture_of(found, False, 3)
    means = [[0.8, -0.1, 0.5], [-0.1, 0.2, NAN], [0.5, NAN, NAN]]
    for row, column in np.ndindex(3, 3):
        r = means[row][column]
        level = 0 if np.isnan(r) else 101 + round(100 * r)
        assert tuple(got[row, column]) == tuple(colors()[level]), (row, column)
    assert correlation.picture_of(found, False, 3) is got, "made once"
    assert correlation.picture_of(found, True, 3) is not got


def test_what_lies_at_each_pair() -> None:
    view = shown(2)
    places = correlation.places_of(ROOM, LETTERS)
    square, tips = places.matrix, {}
    for row, one in enumerate(FOUND.order):
        for column, other in enumerate(FOUND.order):
            y = square.top + (2 * row + 1) * square.height // 8
            x = square.left + (2 * column + 1) * square.width // 8
            hit = PANE.hit(view, *SIZE, y, x)
            assert hit is not None
            assert (hit.kind, hit.index, hit.value) == ("pair", one, str(other))
            tips[one, other] = hit.tip
    assert tips[0, 1] == "0 cat and 1 dog   r −0.50"
    assert tips[2, 0] == "2 and 0 cat   r +0.80"
    assert tips[3, 0] == tips[0, 3].replace("0 cat and 3 car", "3 car and 0 cat")
    assert tips[0, 3] == "0 cat and 3 car   3 car never changes"
    assert tips[3, 3] == "3 car never changes"
    assert tips[1, 1] == "1 dog"
    row_hits = [
        PANE.hit(view, *SIZE, places.row.top + 1, places.row.left + (2 * k + 1) * square.width // 8)
        for k in range(4)
    ]
    assert [hit and (hit.kind, hit.index) for hit in row_hits] == [
        ("unit", unit) for unit in FOUND.order
    ]
    assert PANE.hit(view, *SIZE, 1, 1) is None


def test_of_columns_that_share_a_pixel_the_row_shows_the_strongest() -> None:
    rng = np.random.default_rng(0)
    units, width = 1000, correlation.places_of(ROOM, LETTERS).row.width
    values = rng.uniform(-0.9, 0.9, (units, units)).astype(np.float32)
    values = (values + values.T) / 2
    np.fill_diagonal(values, 1)
    found = Correlation(values, tuple(rng.permutation(units).tolist()))
    view = shown(17, found)
    made = PANE.draw(view, *SIZE)
    row = correlation.places_of(ROOM, LETTERS).row
    for x in range(width):
        shares = [
            found.order[k]
            for k in range(units)
            if x * units // width <= k < (x + 1) * units // width
        ]
        best = max(shares, key=lambda unit: abs(values[17, unit]))
        hit = PANE.hit(view, *SIZE, row.top, row.left + x)
        assert hit is not None
        assert hit.index == best
        color = colors()[levels_of(values[17, best])]
        assert tuple(made[row.top + 1, row.left + x]) == tuple(color)


def test_partners_are_shown_with_what_excites_them_and_can_be_clicked() -> None:
    red, blue = (np.full((20, 60, 3), color, np.uint8) for color in ((250, 1, 2), (3, 4, 250)))
    view = shown(0)
    pictured = (Partner(2, 0.8, red), Partner(1, -0.5, blue))
    view = replace(view, relation=replace(view.relation, partners=pictured, pictured=True))
    made = PANE.draw(view, *SIZE)
    for color, unit, r in (((250, 1, 2), 2, "+0.80"), ((3, 4, 250), 1, "−0.50")):
        rows, columns = np.nonzero((made == color).all(axis=2))
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1), "it lies whole"
        hit = PANE.hit(view, *SIZE, int(rows[0]), int(columns[0]))
        assert hit is not None
        assert (hit.kind, hit.index) == ("unit", unit)
        assert hit.tip.endswith(f"r {r}")
    assert not has(made, EMPTY)
    missing = replace(
        view, relation=replace(view.relation, partners=(pictured[0], Partner(1, -0.5)))
    )
    assert has(PANE.draw(missing, *SIZE), EMPTY), "its place is kept"
    # Without any picture there are lines of words.
    words = shown(0)
    rest = correlation.places_of(ROOM, LETTERS).partners
    assert rest is not None
    hits: dict[int, Hit] = {}
    for y in range(rest.top, rest.bottom):
        hit = PANE.hit(words, *SIZE, y, rest.left + 5)
        if hit is not None:
            hits.setdefault(hit.index, hit)
    assert list(hits) == [2, 1]
    assert not has(PANE.draw(words, *SIZE), EMPTY)


def test_pane_is_drawn_again_for_what_it_shows_and_not_for_activations() -> None:
    view, draw = shown(0), Redraw(PANE.draw)
    draw(view, *SIZE)
    assert view.result is not None
    maps = np.ones_like(view.result.maps)
    assert draw.is_current(replace(view, result=replace(view.result, number=2, maps=maps)), *SIZE)
    for change in ({"unit": 1}, {"by_number": True}, {"correlation": False}):
        other = replace(view, state=replace(view.state, **change))  # type: ignore[arg-type]
        assert not draw.is_current(other, *SIZE)
    assert not draw.is_current(replace(view, relation=Relation(FOUND)), *SIZE)


def test_where_there_is_none_the_pane_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(correlation, "write", lambda canvas, line, *more, **_: lines.append(line))
    monkeypatch.setattr(
        correlation, "write_note", lambda canvas, room, line, *more: lines.append(line)
    )
    none = shown(found=None)
    PANE.draw(none, *SIZE)
    assert lines == ["reading ..."]
    lines.clear()
    note = ("none was kept", "deepvis top-images --correlation")
    PANE.draw(replace(none, relation=Relation(note=note)), *SIZE)
    assert lines == list(note)
    assert PANE.hit(none, *SIZE, 200, 200) == Hit("nothing")


@pytest.mark.parametrize(
    "size", [(1, 1), (30, 40), (90, 300), (160, 310), (300, 120), (900, 400), (700, 1100)]
)
def test_any_room_will_do_and_parts_lie_apart_inside(size: tuple[int, int]) -> None:
    large = Correlation(np.eye(300, dtype=np.float32), tuple(range(300)))
    for found in (FOUND, large):
        view = shown(3, found)
        view = replace(view, relation=replace(view.relation, pictured=True))
        assert PANE.draw(view, *size).shape == (*size, 3)
        for y, x in ((0, 0), (size[0] // 2, size[1] // 2), (size[0] - 1, size[1] - 1)):
            PANE.hit(view, *size, y, x)
    if min(size) < 90:
        return
    room = inside(*size, wide_letters(size[1]))
    places = correlation.places_of(room, wide_letters(size[1]))
    covered = np.zeros(size, int)
    for part in filter(None, places):
        assert part.top >= room.top
        assert part.left >= room.left
        assert part.bottom <= room.bottom
        assert part.right <= room.right
        covered[part.top : part.bottom, part.left : part.right] += 1
    assert covered.max() == 1


def test_r_in_words() -> None:
    words = [signed(r) for r in (0.123, -0.5, 0.004, -0.004, 1.0)]
    assert words == ["+0.12", "−0.50", "0.00", "0.00", "+1.00"]

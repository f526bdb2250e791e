"""Packing pictures: whatever fits, and nothing that fits better by trying every size."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from deepvis_caffe.viewer.panes.tiles import GAP, Group, largest_tiles, stacked

GROUPS = some.builds(
    Group, count=some.integers(1, 9), ratio=some.sampled_from([0.5, 1.0, 1.5]), head=some.just(20)
)


@settings(max_examples=100, deadline=None)
@given(
    groups=some.lists(GROUPS, min_size=1, max_size=3),
    height=some.integers(160, 900),
    width=some.integers(120, 700),
)
def test_cells_are_inside_and_apart(groups: list[Group], height: int, width: int) -> None:
    tiles = stacked(tuple(groups), height, width)
    assert sum(one.head + GAP for one in groups) + sum(one.high for one in tiles) <= height
    for group, one in zip(groups, tiles, strict=True):
        rects = one.rects(0, 0, width)
        assert len(rects) == group.count
        for rect in rects:
            assert 0 <= rect.left < rect.right <= width
            assert rect.bottom <= one.high
        for a, b in itertools.combinations(rects, 2):
            assert a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top


@settings(max_examples=100, deadline=None)
@given(count=some.integers(1, 12), height=some.integers(20, 400), width=some.integers(20, 400))
def test_no_larger_squares_fit(count: int, height: int, width: int) -> None:
    made = largest_tiles(Group(count), height, width)

    def fits(side: int) -> bool:
        columns = (width + GAP) // (side + GAP)
        return columns > 0 and math.ceil(count / columns) * (side + GAP) - GAP <= height

    assert made.width == max([side for side in range(1, 401) if fits(side)], default=1)


@pytest.mark.parametrize("counts", [(1, 9), (9, 1), (9, 2, 2), (9, 9, 9), (1, 9, 9)])
def test_none_is_small_for_the_sake_of_others(counts: tuple[int, ...]) -> None:
    groups = tuple(Group(count, head=20) for count in counts)
    tiles = stacked(groups, 384, 302)
    assert min(one.width for one in tiles) >= 45
    for count, one in zip(counts, tiles, strict=True):
        others = [
            other.width for number, other in zip(counts, tiles, strict=True) if number > count
        ]
        assert all(one.width >= other for other in others), "fewer pictures are no smaller"

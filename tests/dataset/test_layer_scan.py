"""Tables of top images: in any order and grouping, the same as by plain sorting."""

from __future__ import annotations

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.dataset.layer_scan import NONE, Top

UNITS = 3


def table(values: np.ndarray, images: np.ndarray, count: int) -> Top:
    """Positions are made of the image and the unit, so that a mix-up shows."""
    positions = images[:, None] * 10 + np.arange(UNITS)
    return Top.empty(UNITS, count).with_batch(values.astype(np.float32), images, positions)


def rows(top: Top) -> list[list[tuple[float, int, int]]]:
    return [
        [(float(v), int(i), int(p)) for v, i, p in zip(*one, strict=True) if i != NONE]
        for one in zip(top.value, top.image, top.position, strict=True)
    ]


def sorted_rows(values: np.ndarray, count: int) -> list[list[tuple[float, int, int]]]:
    return [
        sorted(
            ((float(v), i, i * 10 + unit) for i, v in enumerate(values[:, unit])),
            key=lambda row: (-row[0], row[1]),
        )[:count]
        for unit in range(UNITS)
    ]


# Few different values, so that there are many ties.
VALUES = st.lists(
    st.lists(st.integers(-2, 2), min_size=UNITS, max_size=UNITS), min_size=1, max_size=24
)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(1, 9), st.data())
def test_parts_merge_to_the_whole_in_any_order_and_grouping(values, count, data) -> None:
    array = np.array(values, float)
    owner = np.array(
        data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))
    )
    images = np.arange(len(values))
    parts = [
        table(array[owner == who], images[owner == who], count)
        for who in data.draw(st.permutations(range(5)))
        if (owner == who).any()
    ]
    left = functools.reduce(Top.merged, parts)
    right = functools.reduce(lambda a, b: b.merged(a), reversed(parts))
    expected = sorted_rows(array, count)
    assert rows(left) == rows(right) == expected


def test_places_without_an_image_come_last_even_among_values_of_minus_infinity() -> None:
    values = np.full((2, UNITS), -np.inf)
    top = Top.empty(UNITS, 4).merged(table(values, np.array([5, 3]), 4))
    np.testing.assert_array_equal(top.image, [[3, 5, NONE, NONE]] * UNITS)


def test_new_numbers_leave_empty_places_empty() -> None:
    top = table(np.zeros((1, UNITS)), np.array([1]), 2).renumbered(np.array([7, 8]))
    np.testing.assert_array_equal(top.image, [[8, NONE]] * UNITS)

"""The meter adds up parts and never counts backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepvis_caffe.progress import ProgressMeter


def test_parts_are_added_up() -> None:
    seen: list[tuple[int, int | None]] = []
    meter = ProgressMeter(lambda *given: seen.append(given), [5, 3], before=2)
    meter.update(0, 4)
    meter.update(1, 1)
    meter.update(0, 2)  # it began again in another process
    meter.update(0, 4)
    meter.finish(0)
    meter.finish(0)
    meter.finish(1)
    assert seen == [(6, 10), (7, 10), (8, 10), (10, 10)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=40), st.integers(0, 5))
def test_it_says_the_most_that_each_part_has_reached(
    told: list[tuple[int, int]], before: int
) -> None:
    seen: list[int] = []
    meter = ProgressMeter(lambda done, total: seen.append(done), [9] * 4, before)
    expected = []
    reached = [0] * 4
    for part, done in told:
        if done > reached[part]:
            reached[part] = done
            expected.append(before + sum(reached))
        meter.update(part, done)
    assert seen == expected


def test_the_callback_is_optional() -> None:
    meter = ProgressMeter(None, [2])
    meter.update(0, 1)
    meter.finish(0)
    meter.report()

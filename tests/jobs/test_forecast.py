"""Forecasts of disk space and time from two tasks of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepvis_caffe.jobs.forecast import Sample, sample_first


def test_any_beginning_of_the_work_is_a_fair_sample_of_it() -> None:
    tasks = {"cheap": range(100), "dear": range(10), "single": range(1)}
    order, sampled = sample_first(tasks)
    first = [("cheap", 0), ("dear", 0), ("single", 0), ("cheap", 1), ("dear", 1)]
    assert order[:sampled] == first
    assert sorted(order) == sorted((kind, task) for kind, some in tasks.items() for task in some)
    for end in range(sampled, len(order)):
        done = [kind for kind, _ in order[sampled:end]]
        assert done.count("cheap") / 98 == pytest.approx(done.count("dear") / 8, abs=1 / 8)


def test_each_kind_counts_by_itself_and_the_first_of_it_not_for_time(tmp_path: Path) -> None:
    now = 0.0
    sample = Sample({"cheap": 100, "dear": 10}, lambda: now)
    for kind, size, seconds, passed in (
        ("cheap", 4096, 7.0, 9.0),  # it loads what the others find loaded
        ("dear", 40960, 8.0, 9.0),
        ("cheap", 8192, 0.5, 1.0),  # twice as much time passes as one process works
        ("dear", 40960, 2.0, 4.0),
    ):
        now += passed
        sample.add(kind, size, seconds)
    ahead = sample.forecast(tmp_path / "not" / "there")
    assert ahead.tasks == 110
    assert ahead.size == 100 * (4096 + 8192) // 2 + 10 * 40960
    assert ahead.seconds == pytest.approx((100 * 0.5 + 10 * 2.0) * 2)
    assert ahead.free > 0

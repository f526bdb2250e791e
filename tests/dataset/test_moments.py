"""Mean, spread and correlation merged from parts, against numpy over the whole in float64."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.dataset.correlation import pearson
from deepvis_caffe.dataset.layer_scan import BINS, EDGES, count_values
from deepvis_caffe.dataset.moments import Moments


def moments(values: np.ndarray) -> Moments:
    """From values (N, C, P), as a pass reads them."""
    means = values.mean(axis=2)
    squares = ((values - means[:, :, None]) ** 2).sum(axis=2)
    origin = means.mean(axis=0) + np.linspace(
        -0.3, 0.5, means.shape[1]
    )  # near the mean, as rounded it is
    columns = (values - origin[:, None]).transpose(1, 0, 2).reshape(values.shape[1], -1)
    return Moments.of_images(values.shape[2], means, squares, (columns @ columns.T, origin))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from([0.0, 10.0, 1e6]),
)
def test_parts_merge_to_what_numpy_says_of_the_whole(seed, sizes, offset) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(offset, [[[1.0], [5.0], [2.0]]], (sum(sizes), 3, 6))
    parts = [moments(part) for part in np.split(values, np.cumsum(sizes)[:-1])]
    flat = values.transpose(1, 0, 2).reshape(3, -1)
    for whole in (
        functools.reduce(Moments.merged, parts, Moments.empty(3, True)),
        functools.reduce(lambda a, b: b.merged(a), parts),
    ):
        assert whole.count == flat.shape[1]
        np.testing.assert_allclose(whole.mean, flat.mean(axis=1), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(whole.deviation(), flat.std(axis=1), rtol=1e-6)
        np.testing.assert_allclose(pearson(whole), np.corrcoef(flat), atol=1e-6)


def test_a_unit_that_never_changes_correlates_with_none() -> None:
    values = np.random.default_rng(0).normal(size=(4, 2, 5))
    values[:, 1] = 3
    correlation = pearson(moments(values))
    assert correlation is not None
    assert np.isnan(correlation[:, 1]).all()
    assert correlation[0, 0] == pytest.approx(1)


def test_every_value_is_counted_in_the_bin_that_holds_it() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate(
        [rng.normal(0, 10.0 ** rng.integers(-6, 8, (400, 2))), [[0, 0], [1, -1], [2, -2]]]
    ).astype(np.float32)
    counted = count_values(values)
    assert counted.shape == (2, BINS)
    for unit in range(2):
        for low, high, count in zip(EDGES[:-1], EDGES[1:], counted[unit], strict=True):
            held = (values[:, unit].astype(float) >= low) & (values[:, unit].astype(float) < high)
            assert count == held.sum()

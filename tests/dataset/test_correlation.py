"""Correlations against numpy and scipy, and orders worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import ClusterNode, linkage, to_tree
from scipy.spatial.distance import squareform

from deepvis_caffe.dataset.correlation import (
    MOST_ORDERED,
    correlation_of,
    likeness_order,
    strongest,
)
from deepvis_caffe.dataset.layer_scan import LayerScan
from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_moments, write_scan
from deepvis_caffe.errors import ResultsError


def moments_of(values: np.ndarray, products: bool = True) -> Moments:
    """Of activations (C, N), each image one value a unit."""
    off = values - values.mean(axis=1, keepdims=True)
    squares = (off**2).sum(axis=1)
    cross = off @ off.T if products else None
    return Moments(values.shape[1], values.mean(axis=1), squares, cross)


def groups(rng: np.random.Generator, of: list[int]) -> np.ndarray:
    """Activations of units that follow their group's, (C, 200)."""
    common = rng.normal(size=(max(of) + 1, 200))
    return common[of] + rng.normal(0, 0.4, (len(of), 200))


def test_the_matrix_is_numpys() -> None:
    values = np.random.default_rng(0).normal(3, 2, (7, 50))
    values[4] = 3
    found = correlation_of(moments_of(values), images=50)
    assert found is not None
    with np.errstate(invalid="ignore"):
        expected = np.corrcoef(values)
    expected[4] = expected[:, 4] = np.nan
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.still.tolist() == [False] * 4 + [True] + [False] * 2
    assert found.images == 50
    assert correlation_of(moments_of(values, products=False)) is None


def test_units_of_a_group_stand_together_and_those_that_never_change_come_last() -> None:
    of = [0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 1, 2]
    values = groups(np.random.default_rng(1), of)
    values[[3, 8]] = 7
    found = correlation_of(moments_of(values))
    assert found is not None
    assert found.order[-2:] == (3, 8)
    shown = [of[unit] for unit in found.order[:-2]]
    assert sum(a != b for a, b in pairwise(shown)) == 2, shown
    assert sorted(found.order) == list(range(12))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 30))
def test_every_cluster_of_scipys_tree_is_without_gaps(seed: int, units: int) -> None:
    values = np.corrcoef(np.random.default_rng(seed).normal(size=(units, 12)))
    order = likeness_order(values)
    place = {unit: at for at, unit in enumerate(order)}

    def check(node: ClusterNode) -> None:
        at = sorted(place[leaf] for leaf in node.pre_order())
        assert at == list(range(at[0], at[0] + len(at)))
        for below in (node.left, node.right):
            if below is not None:
                check(below)

    check(to_tree(linkage(squareform(1 - values, checks=False), "average")))


def test_clusters_that_join_meet_at_the_ends_that_are_most_alike() -> None:
    # 0 and 1 are one pair, 2 and 3 the other; of the four ends 0 and 3 are most alike.
    for near, expected in (
        ((0, 3), (1, 0, 3, 2)),
        ((1, 2), (0, 1, 2, 3)),
        ((0, 2), (1, 0, 2, 3)),
        ((1, 3), (0, 1, 3, 2)),
    ):
        values = np.full((4, 4), 0.1)
        np.fill_diagonal(values, 1)
        for one, other, r in ((0, 1, 0.9), (2, 3, 0.8), (*near, 0.3)):
            values[one, other] = values[other, one] = r
        assert likeness_order(values) in (expected, expected[::-1])


def test_layers_without_anything_to_order_and_very_large_ones() -> None:
    assert likeness_order(np.zeros((0, 0))) == ()
    assert likeness_order(np.array([[np.nan]])) == (0,)
    assert likeness_order(np.array([[np.nan, np.nan], [np.nan, 1.0]])) == (1, 0)
    large = np.broadcast_to(np.float32(np.nan), (MOST_ORDERED + 1,) * 2)
    assert likeness_order(large) == tuple(range(MOST_ORDERED + 1))


def test_the_closest_either_way_are_those_of_a_sorted_list() -> None:
    row = np.array([0.3, np.nan, 1.0, -0.2, 0.001, 0.9, -0.7, 0.3])
    assert strongest(row, 2, 9, 1) == ((5, 0.9), (0, 0.3), (7, 0.3))
    assert strongest(row, 2, 9, -1) == ((6, -0.7), (3, -0.2))
    assert strongest(row, 2, 1, 1) == ((5, 0.9),)
    assert strongest(np.full(3, np.nan), 0, 3, 1) == ()


def test_one_layers_moments_are_read_alone(tmp_path: Path) -> None:
    empty = LayerScan.empty((3, 2, 2), 2)
    kept = moments_of(np.random.default_rng(2).normal(size=(3, 9)))
    layers = {
        "a": LayerScan(**{**vars(empty), "moments": kept}),
        "b": empty,
        "bad": LayerScan(**{**vars(empty), "moments": moments_of(np.eye(4))}),
    }
    path = write_scan(tmp_path / "scan.npz", Scan(layers, (), np.zeros(0, np.int64), 9, ()), {})
    found, images = read_moments(path, ["x", "a"], 3)
    assert found is not None
    assert images == 9
    assert found.count == kept.count
    for name in ("mean", "squares", "products"):
        np.testing.assert_array_equal(getattr(found, name), getattr(kept, name))
    without, _ = read_moments(path, ["b"], 3)
    assert without is not None
    assert without.products is None
    assert read_moments(path, ["a"], 4) == (None, 9), "of another net"
    assert read_moments(path, ["c"], 3) == (None, 9)
    with pytest.raises(ResultsError, match="layer 'bad' are inconsistent"):
        read_moments(path, ["bad"], 3)
    whole = path.read_bytes()
    half = len(whole) // 2
    for damaged in (b"", b"no scan", whole[:-40], bytes(half) + whole[half:]):
        path.write_bytes(damaged)
        with pytest.raises(ResultsError, match="cannot be read as a scan"):
            read_moments(path, ["a"], 3)
    with pytest.raises(ResultsError, match=r"there is no .*top-images"):
        read_moments(tmp_path / "none.npz", ["a"], 3)

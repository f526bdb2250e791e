"""What is read of a layer, against float64 sums over the same values."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deepvis_caffe.dataset.reduction import reduce_value
from deepvis_caffe.engines.arrays import ArrayOps, ops_for

SHAPE = (3, 4, 5, 7)
_rng = np.random.default_rng(0)
NORMAL = _rng.normal(0, 1, SHAPE)
VALUES = {
    "around zero": NORMAL,
    "rectified": np.maximum(NORMAL, 0),
    "far from zero": NORMAL + 1000,
    "some far": NORMAL + np.array([0, 1000, -50, 3])[None, :, None, None],
    "large and equal": np.full(SHAPE, 2.0**80),
    "so small that squares are nothing": np.where(NORMAL > 0, 1e-30, 0),
    "silent": np.zeros(SHAPE),
}


@pytest.fixture(params=["torch", "pycaffe"])
def ops(request: pytest.FixtureRequest) -> ArrayOps:
    if request.param == "torch":
        pytest.importorskip("torch")
    return ops_for(request.param, "cpu")


@pytest.mark.parametrize("name", VALUES)
def test_statistics_are_those_of_the_values(ops: ArrayOps, name: str) -> None:
    values: NDArray[np.float32] = VALUES[name].astype(np.float32)
    found = reduce_value(ops, ops.asarray(values), len(values))
    flat = values.reshape(*SHAPE[:2], -1).astype(np.float64)
    mean = flat.mean(axis=2)
    squares = ((flat - mean[:, :, None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found.high, flat.max(axis=2))
    np.testing.assert_array_equal(found.position, flat.argmax(axis=2))
    np.testing.assert_array_equal(found.zeros, (flat == 0).sum(axis=2))
    np.testing.assert_allclose(found.mean, mean, rtol=2e-6, atol=1e-6)
    # Where values are a thousand times their spread, float32 has four digits of a spread left.
    precise = 1e-3 if "far" in name else 1e-5
    rounding = (2e-7 * np.abs(flat).max()) ** 2 * flat.shape[2]
    np.testing.assert_allclose(found.squares, squares, rtol=precise, atol=max(rounding, 1e-12))
    assert found.finite().all()


def test_an_image_with_a_value_that_is_no_number_is_told(ops: ArrayOps) -> None:
    values = NORMAL.astype(np.float32)
    values[1, 2, 3, 4] = np.nan
    values[2, 0, 0, 0] = -np.inf
    found = reduce_value(ops, ops.asarray(values), len(values))
    assert found.finite().tolist() == [True, False, False]

"""Reductions of a layer against float64 sums over the same values."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from helpers.simulated_cuda import cuda_device
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepvis_caffe.dataset import host_reduction
from deepvis_caffe.dataset.compiled_sweep import compiled_sweep
from deepvis_caffe.dataset.reduction import Reduction, on_host, reduce_value
from deepvis_caffe.engines.arrays import NumpyOps, ops_for

SHAPE = (3, 4, 5, 7)
_rng = np.random.default_rng(0)
NORMAL = _rng.normal(0, 1, SHAPE)
VALUES = {
    "around zero": NORMAL,
    "rectified": np.maximum(NORMAL, 0),
    "five spreads from zero": NORMAL + 5,
    "far from zero": NORMAL + 1000,
    "some far": NORMAL + np.array([0, 1000, -50, 3])[None, :, None, None],
    "large and equal": np.full(SHAPE, 2.0**80),
    "so small that squares are nothing": np.where(NORMAL > 0, 1e-30, 0),
    "silent": np.zeros(SHAPE),
}


def laid_out(how: str, values: NDArray[Any]) -> tuple[Any, ...]:
    """What `reduce_value` takes: an engine's operations and its own array, in a layout."""
    values = values.astype(np.float32)
    if how == "compiled":
        pixels = np.ascontiguousarray(np.moveaxis(values, 1, -1))
        return NumpyOps(), np.moveaxis(pixels, -1, 1)
    if how == "numpy":
        return NumpyOps(), values
    torch = pytest.importorskip("torch")
    kind = torch.channels_last if how == "torch, channels last" else torch.contiguous_format
    if how == "cuda":
        return (ops := ops_for("torch", "cuda")), ops.asarray(values)
    return ops_for("torch", "cpu"), torch.from_numpy(values).contiguous(memory_format=kind)


def reduced(
    how: str,
    values: NDArray[Any],
    images: int | None = None,
    threshold: NDArray[np.float32] | None = None,
) -> Reduction:
    """The reduction of values in that layout."""
    sweep = None
    if how == "compiled":
        pytest.importorskip("numba")
        sweep = compiled_sweep()
        assert sweep is not None
    images = len(values) if images is None else images
    with cuda_device() if how == "cuda" else nullcontext():
        ops, value = laid_out(how, values)
        found = reduce_value(ops, value, images, threshold, sweep=sweep)
        return on_host(ops, {"layer": found})["layer"]


ON_HOST = ["numpy", "torch", "torch, channels last", "compiled"]
LAYOUTS = pytest.mark.parametrize("how", [*ON_HOST, "cuda"])


@LAYOUTS
@pytest.mark.parametrize("name", VALUES)
def test_statistics_are_those_of_the_values(how: str, name: str) -> None:
    values: NDArray[np.float32] = VALUES[name].astype(np.float32)
    found = reduced(how, values)
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


@LAYOUTS
def test_images_with_values_that_are_not_finite_are_found(how: str) -> None:
    values = NORMAL.copy()
    values[1, 2, 3, 4] = np.nan
    values[2, 0, 0, 0] = -np.inf
    found = reduced(how, values)
    assert found.finite().tolist() == [True, False, False]


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        [(3, 2), (2, 3, 4), (1, 1, 9, 7), (4, 3, 300, 2), (2, 5, 6, 9), (2, 5, 2, 3, 4)]
    ),
    st.sampled_from([1, 40, 2**18]),
    st.sampled_from([1, 20, 2**10]),
    st.sampled_from([*ON_HOST, "cuda"]),
)
@example(0, (4, 3, 300, 2), 2**18, 1, "torch, channels last")  # more rows than a byte counts
def test_first_of_equal_positions_and_zeros_are_numpys(seed, shape, block, row, how) -> None:
    # Of few different values the highest is at many positions.
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, shape) * rng.integers(0, 2, (*shape[:2], *[1] * (len(shape) - 2)))
    if how == "torch, channels last" and len(shape) != 4:
        how = "torch"
    threshold = rng.integers(-1, 3, shape[1]).astype(np.float32)
    images = int(rng.integers(1, shape[0] + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_reduction, "BLOCK", block)
        patch.setattr(host_reduction, "ROW", row)
        found = reduced(how, values, images, threshold)
    flat = values.reshape(*shape[:2], -1)[:images]
    above = flat.max(axis=2) > threshold
    np.testing.assert_array_equal(found.high, flat.max(axis=2))
    np.testing.assert_array_equal(found.position[above], flat.argmax(axis=2)[above])
    if how not in ("cuda", "compiled"):
        assert not found.position[~above].any()
    np.testing.assert_array_equal(found.zeros, (flat == 0).sum(axis=2))
    np.testing.assert_allclose(found.mean, flat.mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(
        found.squares, flat.shape[2] * flat.var(axis=2), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("how", ON_HOST)
def test_an_image_has_the_same_bits_alone_and_beside_others(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.maximum(np.random.default_rng(1).normal(0.3, 1, (5, 24, 26, 31)), 0)
    monkeypatch.setattr(host_reduction, "BLOCK", values[:2].size)
    whole = reduced(how, values)
    for place, value in enumerate(values):
        alone = reduced(how, value[None])
        for name in ("high", "position", "mean", "squares", "zeros"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(whole, name)[place])


@pytest.mark.parametrize("how", ON_HOST)
def test_sums_over_a_large_map_lose_few_digits(how: str) -> None:
    # As close to the bound above which the variance is computed from differences as may be.
    values = np.random.default_rng(3).normal(5.6, 1, (1, 6, 113, 113)).astype(np.float32)
    found = reduced(how, values)
    flat = values.reshape(1, 6, -1).astype(np.float64)
    np.testing.assert_allclose(found.mean, flat.mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(found.squares, flat.shape[2] * flat.var(axis=2), rtol=2e-5)


def test_the_compiled_sweep_is_used_where_nothing_can_be_kept_on_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numba = pytest.importorskip("numba")
    njit = numba.njit

    def no_folder(parameters: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'sweep': no locator available")
        return njit(parameters, **options)

    monkeypatch.setattr(numba, "njit", no_folder)
    sweep = compiled_sweep.__wrapped__()
    values = np.array([[[1.0, 5], [4, 0], [2, 5], [0, 3], [4, 1]]], np.float32)  # 5 pixels, 2 units
    high, sums = np.empty((1, 2), np.float32), np.empty((2, 1, 2))
    position, nonzeros = np.empty((2, 1, 2), np.int64)
    sweep(values, high, position, sums, nonzeros)
    assert high.tolist() == [[4, 5]]
    assert position.tolist() == [[1, 0]]
    assert sums.tolist() == [[[11, 14]], [[37, 60]]]
    assert nonzeros.tolist() == [[4, 4]]

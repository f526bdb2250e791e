"""Reductions of a layer against float64 sums over the same values."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.simulated_cuda import cuda_device
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepvis_caffe.dataset import host_reduction
from deepvis_caffe.dataset.compiled_sweep import Sweep, compiled_sweep
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
    helpers: Executor | None = None,
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
        found = reduce_value(ops, value, images, threshold, helpers=helpers, sweep=sweep)
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
        patch.setattr(host_reduction, "WIDE", 1)
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
@pytest.mark.parametrize("shared", [False, True])
def test_an_image_has_the_same_bits_alone_and_beside_others(
    how: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.maximum(np.random.default_rng(1).normal(0.3, 1, (5, 24, 26, 31)), 0)
    monkeypatch.setattr(host_reduction, "BLOCK", values[:2].size)
    with ThreadPoolExecutor(2) if shared else nullcontext() as helpers:
        whole = reduced(how, values, helpers=helpers)
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


def swept(sweep: Sweep, pixels: NDArray[np.float32]) -> tuple[list[Any], ...]:
    """What a sweep finds in (N, P, C): maxima, positions, sums and numbers of nonzeros."""
    shape = len(pixels), pixels.shape[2]
    high, sums = np.empty(shape, np.float32), np.empty((2, *shape))
    position, nonzeros = np.empty((2, *shape), np.int64)
    sweep(pixels, high, position, sums, nonzeros)
    return high.tolist(), position.tolist(), sums.tolist(), nonzeros.tolist()


PIXELS = np.array([[[1, 5], [4, 0], [2, 5], [0, 3], [4, 1]]], np.float32)  # 5 of 2 units
IN_PIXELS = [[4, 5]], [[1, 0]], [[[11, 14]], [[37, 60]]], [[4, 4]]


def test_the_compiled_sweep_works_where_nothing_can_be_kept_on_disk(
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
    assert sweep is not None
    assert swept(sweep, PIXELS) == IN_PIXELS


@pytest.mark.process
@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_a_damaged_file_that_numba_kept_is_no_obstacle(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("numba")
    code = (
        "from deepvis_caffe.dataset.compiled_sweep import compiled_sweep, sweep\n"
        "assert compiled_sweep() not in (None, sweep)\n"
    )
    for _ in range(2):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        (kept,) = tmp_path.rglob(f"*{ending}")
        kept.write_bytes(kept.read_bytes()[:30])


def test_nans_are_no_maximum_and_stay_in_the_sums() -> None:
    pytest.importorskip("numba")
    sweep = compiled_sweep()
    assert sweep is not None
    for place in range(6):
        pixels = np.arange(6 * 16, dtype=np.float32).reshape(1, 6, 16)
        pixels[0, place, 3] = np.nan
        _, _, sums, _ = swept(sweep, pixels)
        broken = np.isnan(sums)
        assert broken[:, 0, 3].all()
        assert not np.delete(broken, 3, axis=2).any()


def test_without_a_numba_that_works_there_is_no_compiled_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    assert compiled_sweep.__wrapped__() is None
    assert not caplog.records
    broken = ModuleType("numba")  # that lacks everything
    broken.__spec__ = ModuleSpec("numba", None)
    monkeypatch.setitem(sys.modules, "numba", broken)
    assert compiled_sweep.__wrapped__() is None
    assert "Numba does not work" in caplog.text


def test_numba_that_compiles_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert compiled_sweep.__wrapped__() is None

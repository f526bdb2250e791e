"""Affine warps against scipy's, and their adjoints against the inner product that defines them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps, TorchOps

OPS = {"numpy": NumpyOps(), "torch": TorchOps()}


def affines(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Turns, scales, shears and shifts about the middle, some of them far outside."""
    rng = np.random.RandomState(seed)
    matrix = np.eye(2) + rng.normal(0, 0.5, (count, 2, 2))
    middle = (np.array([height, width]) - 1) / 2
    origin = middle - matrix @ middle + rng.normal(0, 3, (count, 2))
    return np.concatenate([matrix, origin[..., None]], axis=2)


@pytest.mark.parametrize("name", list(OPS))
@given(height=st.integers(1, 24), width=st.integers(1, 24), seed=st.integers(0, 999))
@settings(deadline=None, derandomize=True, max_examples=40)
def test_warp_is_scipys_and_back_its_adjoint(name: str, height: int, width: int, seed: int) -> None:
    ops, rng = OPS[name], np.random.RandomState(seed)
    x, g = (rng.normal(0, 1, (2, 3, height, width)).astype(np.float32) for _ in range(2))
    maps = affines(2, height, width, seed)
    native, back = ops.warp(ops.asarray(x), maps)
    seen, pulled = ops.numpy(native), ops.numpy(back(ops.asarray(g)))
    for image, one, got in zip(x, maps, seen, strict=True):
        for channel, warped in zip(image, got, strict=True):
            expected = affine_transform(
                channel.astype(float), one[:, :2], one[:, 2], order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(warped, expected, atol=2e-4)
    # <warp(x), g> = <x, back(g)> for each image by itself
    np.testing.assert_allclose(
        (seen.astype(float) * g).sum((1, 2, 3)),
        (x.astype(float) * pulled).sum((1, 2, 3)),
        rtol=1e-4,
        atol=1e-3,
    )


def test_half_a_pixel_to_the_right_by_hand(ops: ArrayOps) -> None:
    # pixel c shows the image at c + 1/2: the mean of two neighbours; beyond the edge lie zeros
    x = ops.asarray([[[[2, 4, 8]]]])
    seen, back = ops.warp(x, np.array([[[1, 0, 0], [0, 1, 0.5]]], float))
    np.testing.assert_allclose(ops.numpy(seen), [[[[3, 6, 4]]]], atol=1e-5)
    np.testing.assert_allclose(
        ops.numpy(back(ops.asarray([[[[2, 4, 8]]]]))), [[[[1, 3, 6]]]], atol=1e-5
    )


def test_rows_come_before_columns(ops: ArrayOps) -> None:
    x = ops.asarray([[[[1, 2], [3, 4], [5, 6]]]])
    seen, _ = ops.warp(x, np.array([[[1, 0, 1], [0, 1, 0]]], float))
    np.testing.assert_allclose(ops.numpy(seen), [[[[3, 4], [5, 6], [0, 0]]]], atol=1e-5)

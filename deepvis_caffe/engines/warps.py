"""Bilinear affine warps of a batch, and their exact adjoints: ``(x, step) -> warped, adjoint``.

The convention is that of ``scipy.ndimage.affine_transform(order=1)``: pixel p = (row, column) of
the output shows the input at ``affine[:, :2] @ p + affine[:, 2]``. There is one function for each
kind of array; `deepvis_caffe.engines.arrays.ArrayOps.warps` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from deepvis_caffe.engines.arrays import ArrayOps

Affines = NDArray[np.float64]
Back = Callable[[Any], Any]
Warps = Callable[[Any, int], tuple[Any, Back]]


def numpy_warps(affines: Affines) -> Warps:
    """The warps of all steps; each matrix is built when its step comes."""
    return lambda x, t: warp_numpy(x, affines[t])


def warp_numpy(x: NDArray[Any], affine: Affines) -> tuple[NDArray[Any], Back]:
    """The warp as one sparse matrix per image, whose transpose is the adjoint."""
    shape = x.shape
    matrices = [bilinear_matrix(one, shape[2], shape[3]) for one in affine]

    def apply(parts: list[Any], images: NDArray[Any]) -> NDArray[Any]:
        flat = images.reshape(len(images), shape[1], -1)
        moved = [(part @ image.T).T for part, image in zip(parts, flat, strict=True)]
        return np.ascontiguousarray(np.stack(moved).reshape(shape), np.float32)

    return apply(matrices, x), lambda g: apply([matrix.T for matrix in matrices], g)


def bilinear_matrix(affine: NDArray[np.float64], height: int, width: int) -> Any:
    """The sparse (H * W, H * W) matrix of one warp; pixels outside the input count as 0."""
    from scipy.sparse import csr_array

    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    y, x = np.einsum("ij,jhw->ihw", affine[:, :2], [rows, columns]) + affine[:, 2, None, None]
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    corners = [
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ]
    inside = [(r >= 0) & (r < height) & (c >= 0) & (c < width) for r, c, _ in corners]
    target = np.arange(height * width).reshape(height, width)
    entries = np.concatenate([w[ok] for (_, _, w), ok in zip(corners, inside, strict=True)])
    to = np.concatenate([target[ok] for ok in inside])
    source = np.concatenate(
        [(r * width + c)[ok] for (r, c, _), ok in zip(corners, inside, strict=True)]
    )
    size = height * width
    return csr_array((entries.astype(np.float32), (to, source)), shape=(size, size))


def torch_warps(ops: ArrayOps, affines: Affines, height: int, width: int) -> Warps:
    """The warps as torch's ``grid_sample``, whose adjoint is its gradient.

    The gradient's kernel is called directly: ``torch.autograd.grad`` imports sympy at its first
    call, which takes a quarter of a second.
    """
    import torch
    from torch.nn.functional import grid_sample

    # grid_sample has the center of pixel c of n at (2 c + 1) / n - 1, and takes columns first.
    to_unit = np.diag([2 / height, 2 / width])
    edge = np.array([1 / height, 1 / width]) - 1
    units = np.einsum("ij,tnjk->tnik", to_unit, affines)
    units[..., 2] += edge
    all_steps = ops.asarray(units[:, :, ::-1])
    rows = ops.asarray(np.arange(height)[:, None, None])
    columns = ops.asarray(np.arange(width)[None, :, None])

    def warp(x: Any, t: int) -> tuple[Any, Back]:
        per_row, per_column, origin = (all_steps[t][:, None, None, :, k] for k in range(3))
        grid = rows * per_row + columns * per_column + origin
        seen = grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

        def adjoint(g: Any) -> Any:
            bilinear, zeros, of_x_alone = 0, 0, (True, False)  # as torch numbers them
            return torch.ops.aten.grid_sampler_2d_backward(
                g, x, grid, bilinear, zeros, False, of_x_alone
            )[0]

        return seen, adjoint

    return warp

"""FlowNet's layers against their definitions, one value at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.torch_layers import assert_computes, built, distinct, refused, run

A, B = distinct(2, 3, 5, 6), distinct(2, 3, 5, 6, seed=1)


@pytest.mark.parametrize("kind", ["MULTIPLY", "SUBTRACT"])
@pytest.mark.parametrize(
    ("kernel", "displacement", "stride", "step", "pad"),
    [(1, 1, 1, 1, 1), (3, 2, 1, 1, 3), (1, 4, 2, 2, 4), (3, 2, 2, 2, 2), (1, 3, 1, 2, 2)],
)
def test_correlation(
    kind: str, kernel: int, displacement: int, stride: int, step: int, pad: int
) -> None:
    """`step` is the stride of the displacements, of which the middle one is none."""
    a, b = (np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for x in (A, B))
    border, radius = displacement + kernel // 2, displacement // step
    height, width = (math.ceil((n + 2 * pad - 2 * border) / stride) for n in A.shape[2:])
    moves = [step * move for move in range(-radius, radius + 1)]
    expected = np.zeros((2, len(moves) ** 2, height, width))
    for i, j in np.ndindex(height, width):
        row, column = i * stride + displacement, j * stride + displacement
        window = a[:, :, row : row + kernel, column : column + kernel]
        for channel, (down, across) in enumerate((d, r) for d in moves for r in moves):
            other = b[
                :,
                :,
                row + down : row + down + kernel,
                column + across : column + across + kernel,
            ]
            fit = window * other if kind == "MULTIPLY" else np.abs(window - other)
            expected[:, channel, i, j] = fit.mean((1, 2, 3))
    params = (
        f"kernel_size: {kernel} max_displacement: {displacement} pad: {pad} stride_1: {stride} "
        f"stride_2: {step} correlation_type: {kind}"
    )
    layer = built("Correlation", f"correlation_param {{ {params} }}", bottoms=2)
    # Both zeros of the padding under SUBTRACT are a bend, where a finite difference means nothing.
    assert_computes(layer, expected, A, B, differentiable=None if kind == "MULTIPLY" else ())


def test_correlation_of_equal_maps_is_highest_without_displacement() -> None:
    params = "kernel_size: 3 max_displacement: 1 pad: 2"
    layer = built("Correlation", f"correlation_param {{ {params} }}", bottoms=2)
    assert (run(layer, A, A)[:, :, 1:-1, 1:-1].sum((2, 3)).argmax(1) == 4).all()  # of 0 to 8


def warped(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = image.shape[2:]
    y = np.zeros_like(image)
    for n, row, column in np.ndindex(len(image), height, width):
        to_x, to_y = column + flow[n, 0, row, column], row + flow[n, 1, row, column]
        if not (0 <= to_x < width and 0 <= to_y < height):
            continue
        left, top = int(to_x), int(to_y)
        for r, share_r in (top, 1 - (to_y - top)), (min(top + 1, height - 1), to_y - top):
            for c, share_c in (left, 1 - (to_x - left)), (min(left + 1, width - 1), to_x - left):
                y[n, :, row, column] += share_r * share_c * image[n, :, r, c]
    return y


def test_flow_warp() -> None:
    flow = np.random.default_rng(0).uniform(-3, 3, (2, 2, 5, 6))
    assert_computes(built("FlowWarp", bottoms=2), warped(A, flow), A, flow)


def test_flow_warp_by_hand() -> None:
    # One row, 1 2 4: its pixels come from x = 0.5, 3 (outside) and 2.25 (beside the last).
    image, flow = np.array([[[[1.0, 2, 4]]]]), np.zeros((1, 2, 1, 3))
    flow[0, 0, 0] = [0.5, 2, 0.25]
    np.testing.assert_allclose(run(built("FlowWarp", bottoms=2), image, flow), [[[[1.5, 0, 4]]]])
    params = "flow_warp_param { fill_value: NOT_A_NUMBER }"
    filled = run(built("FlowWarp", params, bottoms=2), image, flow)
    np.testing.assert_allclose(filled, [[[[1.5, np.nan, 4]]]])


@pytest.mark.parametrize(
    ("kind", "params", "shapes", "message"),
    [
        ("Correlation", "kernel_size: 1", [A.shape] * 2, "max_displacement must be given"),
        ("Correlation", "kernel_size: 2 max_displacement: 1", [A.shape] * 2, "an odd kernel_size"),
        ("Correlation", "kernel_size: 1 max_displacement: 3", [A.shape] * 2, "leaves nothing of"),
        ("Correlation", "kernel_size: 1 max_displacement: 0", [A.shape, (1,)], "one shape"),
        ("FlowWarp", "", [A.shape, A.shape], "must have 2 channels"),
    ],
)
def test_what_makes_no_sense(
    kind: str, params: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    given = f"correlation_param {{ {params} }}" if params else ""
    assert message in refused(kind, given, *shapes)

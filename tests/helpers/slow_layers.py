"""Caffe's layers in plain numpy, forward and backward, one output position at a time: an oracle.

Each function is written from the layer's definition. All arrays are (N, C, H, W), float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Array = np.ndarray
Layer = tuple[Array, Callable[[Array], Array]]  # the output, and the gradient: dy -> dx


def windows(size: int, kernel: int, stride: int, pad: int, ceil: bool) -> list[tuple[int, int]]:
    """Where each window starts and ends on the real (unpadded) axis, clipped to it."""
    room = size + 2 * pad - kernel
    count = -(-room // stride) + 1 if ceil else room // stride + 1
    if ceil and pad and (count - 1) * stride >= size + pad:
        count -= 1  # Caffe drops a last window that would start in the padding
    starts = [i * stride - pad for i in range(count)]
    return [(max(start, 0), min(start + kernel, size)) for start in starts]


def convolution(x: Array, w: Array, b: Array, stride: int = 1, pad: int = 0) -> Layer:
    """Cross-correlation with zero padding."""
    kernel = w.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height = (padded.shape[2] - kernel) // stride + 1
    width = (padded.shape[3] - kernel) // stride + 1
    y = np.zeros((len(x), len(w), height, width))
    for i, j, at in _positions(height, width, kernel, stride):
        y[:, :, i, j] = np.einsum("nchw,ochw->no", padded[at], w) + b

    def gradient(dy: Array) -> Array:
        dx = np.zeros_like(padded)
        for i, j, at in _positions(height, width, kernel, stride):
            dx[at] += np.einsum("no,ochw->nchw", dy[:, :, i, j], w)
        return dx[:, :, pad : pad + x.shape[2], pad : pad + x.shape[3]]

    return y, gradient


def max_pool(x: Array, kernel: int, stride: int, pad: int = 0) -> Layer:
    """Caffe's MAX pooling: output size rounded up; the first of equal values takes the gradient."""
    rows = windows(x.shape[2], kernel, stride, pad, ceil=True)
    columns = windows(x.shape[3], kernel, stride, pad, ceil=True)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    winner: dict[tuple[int, int, int, int], tuple[int, int]] = {}
    for n, c, i, j in np.ndindex(*y.shape):
        (top, bottom), (left, right) = rows[i], columns[j]
        window = x[n, c, top:bottom, left:right]
        di, dj = np.unravel_index(window.argmax(), window.shape)
        y[n, c, i, j] = window[di, dj]
        winner[n, c, i, j] = (top + int(di), left + int(dj))

    def gradient(dy: Array) -> Array:
        dx = np.zeros_like(x)
        for (n, c, i, j), (row, column) in winner.items():
            dx[n, c, row, column] += dy[n, c, i, j]
        return dx

    return y, gradient


def lrn(x: Array, size: int, alpha: float, beta: float) -> Layer:
    """Across channels: ``y_c = x_c / (1 + alpha/size sum_{c' near c} x_c'^2) ^ beta``."""
    half = size // 2
    channels = x.shape[1]
    near = np.array([[abs(a - b) <= half for b in range(channels)] for a in range(channels)], float)
    scale = 1 + alpha / size * np.einsum("ab,nbhw->nahw", near, x**2)

    def gradient(dy: Array) -> Array:
        shared = np.einsum("ba,nbhw->nahw", near, dy * x * scale ** (-beta - 1))
        return dy * scale**-beta - 2 * alpha * beta / size * x * shared

    return x * scale**-beta, gradient


def relu(x: Array, mode: str) -> Layer:
    """The three rules of Zeiler and Fergus 2014 and Springenberg et al. 2015."""

    def gradient(dy: Array) -> Array:
        if mode == "gradient":
            return np.where(x > 0, dy, 0)
        if mode == "deconv":
            return np.where(dy > 0, dy, 0)
        return np.where((x > 0) & (dy > 0), dy, 0)

    return np.maximum(x, 0), gradient


def _positions(
    height: int, width: int, kernel: int, stride: int
) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    for i, j in np.ndindex(height, width):
        rows = slice(i * stride, i * stride + kernel)
        columns = slice(j * stride, j * stride + kernel)
        yield i, j, (slice(None), slice(None), rows, columns)

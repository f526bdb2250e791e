"""Diversity: ``(x, g, t) -> x``, a pull that makes the images of one unit differ.

Olah et al. 2017, "Feature Visualization", add to the objective the negative similarity of the
images of a batch, so that one unit's images show the different things that it answers to. Their
similarity is that of a layer's activations; ours is of the images themselves, low-passed, so that
it means the same at every layer and on every engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer.blur import Operator, blur_matrix

COARSE = 1 / 16  # of the image's larger side: the sigma of the low-pass
TINY = 1e-12


def diversity(
    ops: ArrayOps,
    units: Sequence[int],
    height: int,
    width: int,
    levels: float,
    pixel_scale: float,
) -> Operator:
    """Move each image away from the others of its unit, by at most `levels` gray levels (RMS).

    The one operator that couples images, by design: a unit's images then depend on which seeds run
    beside it, and all of them have to run in one batch. An image without company stays as it is.

    Parameters
    ----------
    units
        The unit of each image of the batch.
    height, width
        Of the images.
    levels
        Length of the step where the images are all the same; it falls with their mean similarity,
        to nothing where they have none.
    pixel_scale
        How far one 8-bit gray level moves the input.
    """
    same = np.equal.outer(np.asarray(units), units) & ~np.eye(len(units), dtype=bool)
    others = ops.asarray(same / np.maximum(same.sum(axis=1, keepdims=True), 1))
    sigma = COARSE * max(height, width)
    rows = _low_pass(ops, height, sigma)
    columns = _low_pass(ops, width, sigma)
    xp = ops.xp

    def spread(x: Any, g: Any, t: int) -> Any:
        similarity, slope = similarity_slope(ops, x, others, rows, columns)
        length = xp.sqrt((slope * slope).mean(axis=(1, 2, 3)))
        size = levels * pixel_scale * xp.clip(similarity, 0, 1) / (length + TINY)
        return x - size[:, None, None, None] * slope

    return spread


def similarity_slope(
    ops: ArrayOps, x: Any, others: Any, rows: Any, columns: Any
) -> tuple[Any, Any]:
    """Each image's mean cosine with the others, low-passed, and its gradient in that image alone.

    Parameters
    ----------
    x
        (N, C, H, W).
    others
        (N, N), the weight of image j in image i's mean.
    rows, columns
        The low-pass: ``rows @ x @ columns.T``.

    Returns
    -------
    similarity
        (N,).
    slope
        (N, C, H, W).
    """
    shape = x.shape
    low = (rows @ x @ columns.T).reshape(shape[0], -1)
    norm = ops.xp.sqrt((low * low).sum(axis=1))[:, None] + TINY
    unit = ops.xp.where(ops.xp.isfinite(norm), low / norm, 0)  # an image that ended may be infinite
    company = others @ unit
    similarity = (unit * company).sum(axis=1)
    slope = (company - similarity[:, None] * unit) / norm
    return similarity, rows.T @ slope.reshape(shape) @ columns


def _low_pass(ops: ArrayOps, size: int, sigma: float) -> Any:
    return ops.asarray(blur_matrix(size, sigma))

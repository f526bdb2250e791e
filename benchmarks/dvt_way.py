"""The baseline: regularized ascent as the Deep Visualization Toolbox does it, on real pycaffe.

One image at a time, the whole net forward at each step, ``force_backward`` (which makes Caffe
compute every weight gradient too), the input's diff copied to numpy, scipy's operators. Written
from the paper's section 3 and the toolbox's documented order of steps, without deepvis_caffe's
loop, so that the two can also be compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def force_backward_net(prototxt: Path, weights: dict[str, tuple[NDArray, ...]]) -> Any:
    """A stock ``caffe.Net`` with ``force_backward: true``, batch 1 and these weights."""
    import caffe

    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write("force_backward: true\n" + prototxt.read_text())
        file.flush()
        net = caffe.Net(file.name, caffe.TEST)
    for name, blobs in weights.items():
        for target, source in zip(net.params[name], blobs, strict=True):
            target.data[...] = source.reshape(target.data.shape)
    return net


def ascend(
    net: Any, layer: str, unit: int, mean: NDArray, seed: int, steps: int
) -> tuple[NDArray, list[float]]:
    """Preset 3 with its constant rate of 100: decay 0.0001, blur of width 1 every 4 steps.

    Returns
    -------
    tuple
        The last x, (C, H, W), and the activation at each step.
    """
    _, channels, height, width = net.blobs["data"].data.shape
    x = np.random.RandomState(seed).normal(0, 10, (channels, height, width))
    top = net.top_names[layer][0]
    history = []
    for step in range(steps):
        x = np.clip(x + mean, 0, 255) - mean
        net.blobs["data"].data[0] = x
        net.forward()
        value = net.blobs[top].data[0]
        position = (unit,) if value.ndim == 1 else (unit, value.shape[1] // 2, value.shape[2] // 2)
        history.append(float(value[position]))
        diff = np.zeros_like(net.blobs[top].data)
        diff[(0, *position)] = 1
        net.blobs[top].diff[...] = diff
        net.backward(start=layer)
        gradient = net.blobs["data"].diff[0].copy()
        if not gradient.any() or step == steps - 1:
            break
        x += 100 * gradient
        x *= 1 - 0.0001
        if step % 4 == 0:
            for channel in range(channels):
                x[channel] = gaussian_filter(x[channel], 1.0)
    return x, history

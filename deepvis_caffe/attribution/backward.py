"""Saliency maps of many images: ``(net, unit, images, positions, modes) -> maps by mode``.

For top images: one backward pass for a batch of images, each from one position, and if worthwhile
only through the part of the image that the unit sees there. For single images, and for methods
other than a backward pass, see `deepvis_caffe.attribution.attribute`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.engines.out_of_memory import in_batches
from deepvis_caffe.model.input_window import InputWindow, window_of

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.image import Floats


def saliency_maps_at(
    net: Net,
    layer: str,
    unit: int,
    x: Floats,
    positions: Sequence[tuple[int, ...]],
    modes: Sequence[str],
    in_windows: bool = False,
) -> tuple[Floats, dict[str, Floats]]:
    """The saliency maps of one unit for many images, each starting from 1 at one position.

    Parameters
    ----------
    layer, unit
        A layer's or blob's name, and a channel of its activation.
    x
        (N, C, H, W), the net's inputs.
    positions
        The position on the unit's map for each image, one index per axis.
    modes
        Backward modes; none for activations only.
    in_windows
        Whether to run only the part of each image that the unit sees. Images whose windows have the
        same size run in one batch, which is halved if memory runs out.

    Returns
    -------
    activations
        (N,), each at its position.
    maps
        (N, C, H, W) by mode.
    """
    value = net.model.graph.activation(layer)
    name = net.model.graph.start_name(value) or layer  # an in-place ReLU's, if there is one
    activations = np.zeros(len(x), np.float32)
    maps = {mode: np.zeros_like(x) for mode in modes}
    windows = [window_of(net.model, value, one) if in_windows else None for one in positions]
    groups: dict[Any, list[int]] = {}
    for number, window in enumerate(windows):
        key = (window.size, window.index) if window else None
        groups.setdefault(key, []).append(number)

    def run(group: Sequence[int], most: int) -> None:
        parts = [_part(windows[number]) for number in group]
        batch = net.ops.asarray(
            np.stack([x[number][part] for number, part in zip(group, parts, strict=True)])
        )
        places = [w.index if (w := windows[number]) else positions[number] for number in group]
        index: Any = (np.arange(len(group)), unit, *np.array(places, int).T)
        for mode in modes or ("",):
            values = net.ops.numpy(net.evaluate(batch, name))
            activations[group] = values[index]
            if mode:
                diff = np.zeros(values.shape, np.float32)
                diff[index] = 1
                arrived = net.ops.numpy(net.input_gradient(net.ops.asarray(diff), mode))
                for one, number, part in zip(arrived, group, parts, strict=True):
                    maps[mode][number][part] = one

    for group in groups.values():
        deque(in_batches(net, f"layer {layer!r}", group, run), 0)
    return activations, maps


def __getattr__(name: str) -> Any:
    if name == "saliency_map":
        raise ImportError(
            "saliency_map is now deepvis_caffe.attribute(net, image, layer, unit, mode); for known "
            "activations, it is deepvis_caffe.attribution.score.Score.of_values"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _part(window: InputWindow | None) -> tuple[slice, ...]:
    """The channels, rows and columns of the input to run."""
    return (slice(None), window.rows, window.columns) if window else (slice(None),)

"""Saliency maps: ``(net, image, unit, mode) -> map (C, H, W)``, by one backward pass to the image.

Attribution by a backward pass asks what in an image makes a unit respond. It starts from a diff at
the unit and ends at the net's input; the modes differ in the rule at ReLUs, see
`deepvis_caffe.engines.rules`:

============  ===================================  ================================================
``gradient``  ``dx = dy * (x > 0)``                Simonyan et al. 2013, https://arxiv.org/abs/1312.6034
``deconv``    ``dx = max(dy, 0)``                  Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901
``guided``    ``dx = max(dy, 0) * (x > 0)``        Springenberg et al. 2015, https://arxiv.org/abs/1412.6806
============  ===================================  ================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.model.input_window import InputWindow, window_of
from deepvis_caffe.optimizer.readers import TargetBatch
from deepvis_caffe.optimizer.shapes import unit_shape
from deepvis_caffe.optimizer.targets import Position, check_units, resolve_position

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.image import Floats


def saliency_map(
    net: Net,
    values: Floats,
    layer: str,
    unit: int,
    mode: str = "gradient",
    position: Position = "all",
) -> tuple[Floats, float]:
    """The saliency map of one unit, after a forward pass of one image.

    Parameters
    ----------
    net
        The backward pass goes through its last forward pass.
    values
        (1, *shape), what that pass left in the layer's blob.
    layer, unit
        A layer's or blob's name, and a channel of it.
    mode
        ``"gradient"``, ``"deconv"`` or ``"guided"``.
    position
        ``"all"`` starts from the unit's activations, at all positions of its map at once, as the
        Deep Visualization Toolbox does; ``"center"`` or (y, x) starts from 1 at one position.

    Returns
    -------
    map
        (C, H, W), the diff of the image input.
    activation
        The largest on the unit's map, or that at the one position.

    Raises
    ------
    SettingsError
        The layer has no such unit or position.
    EngineError
        The layer has no units: its first axis is not the batch axis.
    """
    shape = unit_shape(net, layer)
    units = check_units([unit], shape, layer)
    index = resolve_position(position, shape, layer)
    one = net.ops.numpy(TargetBatch(net.ops, units, shape, index)(net.ops.asarray(values)).diff)
    diff = one * values if index is None else one
    arrived = net.backward(layer, diff, mode, net.model.image_inputs)
    return np.sum([diff[0] for diff in arrived.values()], axis=0), float(values[one != 0].max())


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
        Backward modes; none for activations alone.
    in_windows
        Whether to run only the part of each image that the unit sees. Images whose windows have the
        same size run in one batch.

    Returns
    -------
    activations
        (N,), each at its position.
    maps
        (N, C, H, W) by mode.
    """
    value = net.model.graph.activation(layer)
    name = net.model.graph.start_name(value) or layer  # an in-place ReLU's, where there is one
    activations = np.zeros(len(x), np.float32)
    maps = {mode: np.zeros_like(x) for mode in modes}
    windows = [window_of(net.model, value, one) if in_windows else None for one in positions]
    groups: dict[Any, list[int]] = {}
    for number, window in enumerate(windows):
        key = (window.size, window.index) if window else None
        groups.setdefault(key, []).append(number)
    for group in groups.values():
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
    return activations, maps


def _part(window: InputWindow | None) -> tuple[slice, ...]:
    """The channels, rows and columns of the input that are run."""
    return (slice(None), window.rows, window.columns) if window else (slice(None),)

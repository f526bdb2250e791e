"""What in an image makes a unit respond: ``(net, values, layer, unit, mode) -> diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepvis_caffe.optimizer.objectives import Objective, Position, check_units, resolve_position
from deepvis_caffe.optimizer.run import unit_shape

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Floats, Net


def unit_diff(
    net: Net,
    values: Floats,
    layer: str,
    unit: int,
    mode: str = "gradient",
    position: Position = "all",
) -> tuple[Floats, float]:
    """Send one unit's activation down to the image, after a forward pass of that image.

    Parameters
    ----------
    net
        Its last forward pass is the one to go back through.
    values
        (1, *shape), what that pass left in the layer's blob.
    layer, unit
        A layer's or blob's name, and a channel of it.
    mode
        ``"gradient"``, ``"deconv"`` or ``"guided"``; see `deepvis_caffe.engines.rules`.
    position
        ``"all"`` starts from the unit's activations, all places of its map at once, as the Deep
        Visualization Toolbox does; ``"center"`` or (y, x) from 1 at one place.

    Returns
    -------
    diff
        (C, H, W), of the image input.
    activation
        The largest on the unit's map, or that of the one place.

    Raises
    ------
    SettingsError
        The layer has no such unit or position.
    EngineError
        The layer has no units: its first axis does not count images.
    """
    shape = unit_shape(net, layer)
    units = check_units([unit], shape, layer)
    where = resolve_position(position, shape, layer)
    one = net.ops.numpy(Objective(net.ops, units, shape, where)(net.ops.asarray(values)).diff)
    diff = one * values if where is None else one
    arrived = net.backward(layer, diff, mode)[net.image_input()]
    return arrived[0], float(values[one != 0].max())

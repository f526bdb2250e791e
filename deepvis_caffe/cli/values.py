"""What a flag's text means: ``"0-9,tabby" -> [0, ..., 9, 281]``, ``"3,4" -> (3, 4)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.model.unit_text import MOST_UNITS, Units, parse_unit_numbers, parse_units

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


def chosen_units(net: Net, layer: str, text: str) -> list[int]:
    """The single units of a layer that a flag names, by number or label."""
    return parse_unit_numbers(text, _count(net, layer), net.named(layer))


def chosen_targets(net: Net, layer: str, text: str) -> Units:
    """The units and sums of units of a layer that a flag names."""
    return parse_units(text, _count(net, layer), net.named(layer))


def chosen_unit(net: Net, layer: str, text: str) -> int:
    """The one unit of a layer that a flag names, by number or label."""
    if text.strip().isdecimal():  # the caller checks that the layer has it
        return int(text)
    found = chosen_units(net, layer, text)
    if len(found) > 1:
        raise SettingsError(f"--unit: {text!r} names {len(found)} units; give one of them")
    return found[0]


def _count(net: Net, layer: str) -> int:
    shape = net.shapes.get(net.model.graph.activation(layer))
    return MOST_UNITS if shape is None else (*shape[1:], 1)[0]


def parse_numbers(text: str, what: str) -> list[float]:
    """Numbers of a flag, ``0,0.1,0.5``.

    Parameters
    ----------
    what
        The flag, for the error.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"{what}: got {text!r}, expected numbers as in 0,0.1,0.5") from None


def parse_position(text: str) -> Literal["center", "all"] | tuple[int, ...]:
    """``center``, ``all``, or one index per axis: ``y,x``."""
    if text == "center":
        return "center"
    if text == "all":
        return "all"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(
            f"--position: got {text!r}, expected center, all, or y,x as in 6,6"
        ) from None


def parse_push(text: str) -> int:
    """1 for ``up``, -1 for ``down``."""
    pushes = {"up": 1, "down": -1}
    if text not in pushes:
        raise SettingsError(f"--push: got {text!r}, expected up or down")
    return pushes[text]


def parse_crop(text: str) -> Literal["auto", "off"]:
    """``auto`` or ``off``."""
    if text == "auto":
        return "auto"
    if text == "off":
        return "off"
    raise SettingsError(f"--crop: got {text!r}, expected auto or off")

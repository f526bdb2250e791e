"""What a flag's text means: ``"0-9,130" -> [0, ..., 9, 130]``, ``"3,4" -> (3, 4)``."""

from __future__ import annotations

from typing import Literal

from deepvis_caffe.errors import SettingsError

MOST_UNITS = 2**20  # of a layer of which nobody here knows how many it has


def parse_units(text: str, count: int) -> list[int | tuple[int, ...] | Literal["layer"]]:
    """Units and other targets, in the order given and without duplicates.

    Parameters
    ----------
    text
        Numbers and ranges with both ends, ``130,366`` or ``0-99``, or ``all``; sums of units,
        ``130+366`` or ``151+152-268``; ``layer`` for the whole layer at once.
    count
        Number of units in the layer.

    Raises
    ------
    SettingsError
        Something else, or a unit that the layer does not have.
    """
    word = text.strip().lower()
    if word == "all":
        return list(range(count))
    if word == "layer":
        return ["layer"]
    found: list[int | tuple[int, ...] | Literal["layer"]] = []
    for part in text.split(","):
        if "+" in part:
            members = dict.fromkeys(unit for one in part.split("+") for unit in _range(one, count))
            found.append(tuple(members) if len(members) > 1 else next(iter(members)))
        else:
            found += _range(part, count)
    return list(dict.fromkeys(found))


def parse_unit_numbers(text: str, count: int = MOST_UNITS) -> list[int]:
    """As :func:`parse_units`, for commands that take single units only."""
    found = parse_units(text, count)
    numbers = [unit for unit in found if isinstance(unit, int)]
    if len(numbers) < len(found):
        raise SettingsError(f"--units: {text!r} is not made of single units, as 130,366 or 0-99 is")
    return numbers


def _range(text: str, count: int) -> list[int]:
    first, dash, last = text.partition("-")
    try:
        start = int(first)
        stop = int(last) if dash else start
    except ValueError:
        raise SettingsError(
            f"--units: {text.strip()!r} is neither a unit nor a range; write 130,366 or 0-99 or "
            "all; 130+366 for a sum of units; layer for the whole layer at once"
        ) from None
    if start > stop >= 0:
        raise SettingsError(
            f"--units: {text.strip()!r} ends before it begins; write {stop}-{start}"
        )
    if not 0 <= start <= stop < count:
        raise SettingsError(
            f"--units: {text.strip()!r} is not within the layer's {count} units, which are "
            f"numbered 0 to {count - 1}"
        )
    return list(range(start, stop + 1))


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
    """``center``, ``all``, or one index an axis: ``y,x``."""
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

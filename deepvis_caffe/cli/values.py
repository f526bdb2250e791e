"""What a flag's text means: ``"0-9,130" -> [0, ..., 9, 130]``, ``"3,4" -> (3, 4)``."""

from __future__ import annotations

from typing import Literal

from deepvis_caffe.errors import SettingsError


def parse_units(text: str, count: int) -> list[int]:
    """Units, in the order given and each once.

    Parameters
    ----------
    text
        Numbers and ranges with both ends, ``130,366`` or ``0-99``, or ``all``.
    count
        Number of units in the layer.

    Raises
    ------
    SettingsError
        Something else, or a unit that the layer does not have.
    """
    if text.strip().lower() == "all":
        return list(range(count))
    units: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            start = int(first)
            stop = int(last) if dash else start
        except ValueError:
            raise SettingsError(
                f"--units: {part.strip()!r} is neither a unit nor a range; write 130,366 or 0-99 "
                "or all"
            ) from None
        if not 0 <= start <= stop < count:
            raise SettingsError(
                f"--units: {part.strip()!r} is not within the layer's {count} units, which are "
                f"numbered 0 to {count - 1}"
            )
        units += range(start, stop + 1)
    return list(dict.fromkeys(units))


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

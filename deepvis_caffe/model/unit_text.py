"""Units written as text: ``"tabby, 0-2, 3+4" -> [281, 0, 1, 2, (3, 4)]``.

The command line and Python take the same text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from deepvis_caffe.errors import SettingsError, UnknownNameError

MOST_UNITS = 2**20  # limit for a layer with an unknown number of units
LAYER: Literal["layer"] = "layer"

Units = list[int | tuple[int, ...] | Literal["layer"]]
Named = Callable[[str], int]  # the unit with a label; raises `UnknownNameError` if there is none

_NUMBERS = re.compile(r"[\d\s,+-]*", re.ASCII)
_ONE = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)
EXPECTED = (
    "write 130,366 or 0-99 or all; 130+366 for a sum of units; layer for the whole layer at once"
)


def parse_units(text: str, count: int = MOST_UNITS, named: Named | None = None) -> Units:
    """Units and other targets, in the order given and without duplicates.

    Parameters
    ----------
    text
        Numbers, names and ranges with both ends, ``130,tabby`` or ``0-99``, or ``all``; sums of
        units, ``130+366`` or ``151+152-268`` or ``tabby+zebra``; ``layer`` for the whole layer. In
        a label with commas, the full label and each part are names.
    count
        Number of units in the layer.
    named
        Returns the unit with a label; None if units have no names.

    Raises
    ------
    SettingsError
        Something else, or a unit that the layer does not have.
    UnknownNameError
        No unit has that name.
    """
    word = text.strip().lower()
    if word == "all":
        return list(range(count))
    if word == LAYER:
        return [LAYER]
    numbers = _NUMBERS.fullmatch(text)
    if named is not None and not numbers:
        with suppress(UnknownNameError):
            return [named(text)]
    found: Units = []
    for part in text.split(","):
        if "+" in part and not _is_name(part, named):
            members = dict.fromkeys(
                unit for one in part.split("+") for unit in _units(one, count, named)
            )
            found.append(tuple(members) if len(members) > 1 else next(iter(members)))
        else:
            found += _units(part, count, named)
    return list(dict.fromkeys(found))


def parse_unit_numbers(text: str, count: int = MOST_UNITS, named: Named | None = None) -> list[int]:
    """As :func:`parse_units`, but for single units only."""
    found = parse_units(text, count, named)
    numbers = [unit for unit in found if isinstance(unit, int)]
    if len(numbers) < len(found):
        raise SettingsError(f"units: {text!r} must list single units, such as 130,366 or 0-99")
    return numbers


def _is_name(text: str, named: Named | None) -> bool:
    if named is None or _NUMBERS.fullmatch(text):
        return False
    with suppress(UnknownNameError):
        named(text)
        return True
    return False


def _units(text: str, count: int, named: Named | None) -> list[int]:
    """The units of a number, a range or a name."""
    shown = text.strip()
    numbers = _ONE.fullmatch(text)
    if numbers is None:
        if named is not None and not _NUMBERS.fullmatch(text):
            return [named(shown)]
        no_names = "" if named or _NUMBERS.fullmatch(text) else "; these units have no names"
        raise SettingsError(f"units: {shown!r} is neither a unit nor a range; {EXPECTED}{no_names}")
    first = int(numbers[1])
    last = first if numbers[2] is None else int(numbers[2])
    if first > last:
        raise SettingsError(f"units: {shown!r} ends before it begins; write {last}-{first}")
    if last >= count:
        raise SettingsError(
            f"units: {shown!r} is out of range: the layer has {count} units, numbered 0 to "
            f"{count - 1}"
        )
    return list(range(first, last + 1))

"""Keys written down: ``"right*3,down,b" -> ("right", "right", "right", "down", "b")``."""

from __future__ import annotations

import re

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.viewer.actions import BY_KEY


def parse_keys(text: str) -> tuple[str, ...]:
    """Read a list of keys with commas between them; ``*3`` behind one presses it three times.

    Raises
    ------
    UnknownNameError
        A key does nothing.
    SettingsError
        A number of times that is none.
    """
    keys: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, star, times = item.partition("*")
        if key not in BY_KEY:
            raise UnknownNameError("key", key, BY_KEY)
        if star and not re.fullmatch(r"\d{1,4}", times):
            raise SettingsError(f"cannot press {item!r}: after * stands how often, as in right*3")
        keys += [key] * (int(times) if star else 1)
    return tuple(keys)

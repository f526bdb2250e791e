"""Range checks for the parameters of values: ``expect(value, name=range)``.

A range is a pair: whether the parameter is valid, and a description of what is.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

from deepvis_caffe.errors import SettingsError

Range = tuple[bool, str]


def expect(value: Any, **ranges: Range) -> None:
    """Raise a `SettingsError` for the first parameter of `value` that is not valid."""
    for name, (fits, what) in ranges.items():
        if not fits:
            raise SettingsError(
                f"{name} of {type(value).__name__} must be {what}; got {getattr(value, name)!r}"
            )


def between(number: Any, low: float, high: float) -> Range:
    """A number from `low` to `high`, both included."""
    return _is_number(number) and low <= number <= high, f"a number from {low:g} to {high:g}"


def at_least(number: Any, low: float) -> Range:
    """A number that is at least `low`."""
    return _is_number(number) and low <= number < math.inf, f"a number, at least {low:g}"


def fraction(number: Any) -> Range:
    """A number in [0, 1)."""
    return _is_number(number) and 0 <= number < 1, "a fraction, at least 0 and less than 1"


def percentile(number: Any) -> Range:
    """A number in [0, 100)."""
    what = "a percentile, at least 0 (none) and less than 100 (all)"
    return _is_number(number) and 0 <= number < 100, what


def whole(number: Any, low: int, high: float = math.inf) -> Range:
    """A whole number from `low` to `high`."""
    most = "" if high == math.inf else f" and at most {high}"
    return is_whole(number) and low <= number <= high, f"a whole number, at least {low}{most}"


def is_whole(number: Any) -> bool:
    """Whether it is a Python or numpy integer."""
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)


def _is_number(number: Any) -> bool:
    return isinstance(number, numbers.Real) and not isinstance(number, bool)

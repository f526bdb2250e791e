"""Waiting for another thread or process, however long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONG = 60.0  # seconds after which a test has hung; nothing passes or fails by them


def eventually(true: Callable[[], T], at_most: float = LONG) -> T:
    """Wait until a condition is true, and return its value; an error if it never is."""
    end = time.monotonic() + at_most
    while not (value := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value

"""Timing, each case once a round, so that a slow spell of the machine hits them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One thing to time: a call, and how many image-steps one call does."""

    call: Callable[[], object]
    images: int


def interleave(cases: Mapping[str, Case], rounds: int) -> dict[str, list[float]]:
    """Milliseconds per image of each case, a figure a round, after one round of warm-up."""
    figures: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(rounds + 1):
        for name, case in cases.items():
            start = time.perf_counter()
            case.call()
            elapsed = 1000 * (time.perf_counter() - start) / case.images
            if round_:
                figures[name].append(elapsed)
    return figures


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """The median over rounds of how many times `fast` is faster than `slow`."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))

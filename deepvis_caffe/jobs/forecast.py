"""Forecast the disk space and time of a job from its first tasks.

Tasks of one kind cost about the same, and kinds differ a hundredfold: a unit of a first layer sees
three pixels, one of a last layer the whole image. So a few tasks of every kind are done first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import bytes_in_words

SAMPLE = 2  # tasks of each kind; the first one may load what later ones reuse
KEPT_FREE = 100_000_000  # bytes of a disk that are always left free
BLOCK = 4096  # bytes; files take whole blocks

Kind = TypeVar("Kind", bound=Hashable)


@dataclass(frozen=True)
class Forecast:
    """What the remaining tasks will take.

    Attributes
    ----------
    tasks
        How many are left.
    size
        Bytes that they will take on disk.
    seconds
        How long they will take.
    free
        Bytes of disk that are free now.
    """

    tasks: int
    size: int
    seconds: float
    free: int


def sample_first(tasks: Mapping[Kind, Sequence[int]]) -> tuple[list[tuple[Kind, int]], int]:
    """Order tasks so that the first ones are a sample of all kinds.

    One task of each kind comes first, then another of each, and then all kinds in proportion.

    Returns
    -------
    list of (kind, task)
        All tasks.
    int
        The size of the sample.
    """
    sample = [
        (kind, some[number])
        for number in range(SAMPLE)
        for kind, some in tasks.items()
        if len(some) > number
    ]
    rest = [
        ((number + 0.5) / len(some[SAMPLE:]), kind, task)
        for kind, some in tasks.items()
        for number, task in enumerate(some[SAMPLE:])
    ]
    rest.sort(key=lambda item: item[0])
    return sample + [(kind, task) for _, kind, task in rest], len(sample)


@dataclass
class Sample:
    """The costs of the first tasks.

    Parameters
    ----------
    left
        How many tasks of each kind remain after the sample.
    clock
        Seconds, from any start.
    """

    left: Mapping[Hashable, int]
    clock: Callable[[], float] = time.monotonic
    _sizes: dict[Hashable, list[int]] = field(default_factory=dict)
    _work: dict[Hashable, float] = field(default_factory=dict)
    _warm: float | None = None  # the time at which every kind had been done once

    def add(self, kind: Hashable, size: int, seconds: float) -> None:
        """Record a finished task: its bytes on disk, and how long its process worked on it."""
        self._sizes.setdefault(kind, []).append(size)
        self._work[kind] = min(seconds, self._work.get(kind, seconds))
        if self._warm is None and len(self._sizes) == len(self.left):
            self._warm = self.clock()

    def forecast(self, folder: Path) -> Forecast:
        """What the remaining tasks will take, on the disk of a folder."""
        mean_size = _mean([size for some in self._sizes.values() for size in some])
        mean_work = _mean(list(self._work.values()))
        sizes = (
            many * _mean(self._sizes.get(kind, [mean_size])) for kind, many in self.left.items()
        )
        work = sum(many * self._work.get(kind, mean_work) for kind, many in self.left.items())
        return Forecast(
            sum(self.left.values()), round(sum(sizes)), work * self._slowdown(), free_space(folder)
        )

    def _slowdown(self) -> float:
        """Elapsed time per second of work in a process, with writing and other processes."""
        repeated = sum(self._work[kind] for kind, some in self._sizes.items() if len(some) > 1)
        if self._warm is None or not repeated:
            return 1.0
        return (self.clock() - self._warm) / repeated


def size_on_disk(paths: Sequence[Path]) -> int:
    """The bytes that files take on disk, in whole blocks."""
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in paths)


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def check_free_space(folder: Path, size: int = 0, remedy: str = "") -> None:
    """Check that the disk has room for `size` more bytes and still keeps some space free.

    Parameters
    ----------
    remedy
        What else to try besides another folder, for the error.

    Raises
    ------
    ResultsError
        The disk has too little space.
    """
    free = free_space(folder)
    if free - size >= KEPT_FREE:
        return
    needed = f"about {bytes_in_words(size)} will be written to it, and " if size else ""
    raise ResultsError(
        f"the disk of {folder.absolute()} has {bytes_in_words(free)} free; {needed}"
        f"{bytes_in_words(KEPT_FREE)} must stay free: free up space, or choose a folder on another "
        f"disk (--results)" + (f", or {remedy}" if remedy else "")
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))

"""Progress on stderr: a progress bar on a terminal, otherwise a plain line from time to time.

Either is one line of at most the terminal's width, and shows the time left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Where
from deepvis_caffe.progress import ProgressCallback

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

FIRST_LINE_AFTER, LINE_EVERY = 2.0, 10.0  # seconds
WIDTH = 80  # characters of a line without a terminal
LONGEST_NAME = 30  # characters of the description before a bar
SHORTEST_BAR, LONGEST_BAR = 8, 40  # characters
STEADY = 30.0  # seconds; rates over less time are unreliable
POINTS = 512  # of the progress history to keep

Clock = Callable[[], float]


class Estimate:
    """The rate of the work, and the time left.

    The rate is taken over the second half of the time so far. So a slow start (a net that warms up,
    a cache that fills) is forgotten, and a short pause counts little. Work that was done before the
    first report is left out.

    Parameters
    ----------
    clock
        Seconds, from any start.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()
        self.done = 0
        self.total: int | None = None

    def update(self, done: int, total: int | None) -> None:
        """Record the progress so far."""
        self.done, self.total = done, total
        self._points.append((self._clock(), done))
        if len(self._points) > POINTS:  # drop every other one, but not the first and last
            kept = list(self._points)
            self._points = deque([*kept[:-1:2], kept[-1]])

    @property
    def rate(self) -> float | None:
        """Work per second; None if too little was done to tell."""
        if len(self._points) < 2:
            return None
        first, last = self._points[0][0], self._points[-1][0]
        since = last - max((last - first) / 2, min(STEADY, last - first))
        begun, before = next(point for point in reversed(self._points) if point[0] <= since)
        seconds, count = last - begun, self._points[-1][1] - before
        return count / seconds if seconds > 0 and count > 0 else None

    @property
    def left(self) -> float | None:
        """Seconds until all is done; None if unknown."""
        if self.total is None or self.rate is None:
            return None
        since = self._clock() - self._points[-1][0]
        return max((self.total - self.done) / self.rate - since, 0.0)


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[ProgressCallback]:
    """Show progress while the block runs.

    Yields
    ------
    callable
        ``report(done, total)``, to call as the work proceeds; `total` is None if unknown.
    """
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines(what, unit)
        return
    estimate = Estimate()

    class _Line(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(bar_line(what, unit, estimate, console.width), no_wrap=True)

    with Progress(_Line(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def report(done: int, total: int | None) -> None:
            estimate.update(done, total)
            bar.update(task, completed=done, total=total)

        yield report


def bar_line(what: str, unit: str, estimate: Estimate, width: int = WIDTH) -> str:
    """Progress as one line: ``pool10  ━━━━━────  42%  1,260/3,000 image steps  2:10 left``."""
    done, total = estimate.done, estimate.total
    if not total:
        return _shortened(f"{what}  {done:,} {unit}", width)
    left = "" if estimate.left is None else f"  {_clock_time(estimate.left)} left"
    counts = f"  {done:,}/{total:,} {unit}".rstrip()
    end = f"  {done * 100 // total}%{counts}{left}"
    if width - len(end) < LONGEST_NAME // 2:
        end = f"  {done * 100 // total}%{left}"
    name = _shortened(what, max(0, min(LONGEST_NAME, width - len(end) - SHORTEST_BAR - 2)))
    room = min(LONGEST_BAR, width - len(name) - len(end) - 2)
    full = min(room, room * done // total) if room > 0 else 0
    return f"{name}  {'━' * full}{'─' * (room - full)}{end}"[:width]


def plain_lines(what: str, unit: str, clock: Clock = time.monotonic) -> ProgressCallback:
    """A callback that writes a line to stderr after two seconds, and then every ten.

    Parameters
    ----------
    clock
        Seconds, from any start.
    """
    due = clock() + FIRST_LINE_AFTER
    estimate = Estimate(clock)

    def report(done: int, total: int | None) -> None:
        nonlocal due
        estimate.update(done, total)
        now = clock()
        if now < due:
            return
        due = now + LINE_EVERY
        line = f": {done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
        if estimate.rate is not None and estimate.left is not None:
            left = timedelta(seconds=round(estimate.left))
            line += f", {estimate.rate:,.3g} a second, about {left} left"
        typer.echo(_shortened(what, WIDTH - len(line)) + line, err=True)

    return report


def duration(seconds: float) -> str:
    """A duration for people: ``40 s``, ``12 minutes``, ``2.5 hours``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 36 * 3600 else f"{seconds / 86400:.1f} days"


def place(net: Net, where: Where) -> str:
    """The engine and device that run the ascents, as text."""
    if isinstance(where, DaskCluster):
        return f"{net.engine}, workers of {where.address}"
    here = f"{net.engine}, {net.device}"
    return f"{here}, {where.count} processes" if isinstance(where, LocalProcesses) else here


def _clock_time(seconds: float) -> str:
    """``4:10``, ``1:04:10``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 2)].rstrip() + ".."[:width]

"""Progress of long work on stderr: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import time
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


@contextmanager
def progress_bar(what: str, unit: str = "") -> Iterator[ProgressCallback]:
    """Show progress while the block runs.

    Yields
    ------
    callable
        ``report(done, total)``, to be called as the work goes on; `total` is None where unknown.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar
    from rich.text import Text

    class _Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield plain_lines(what, unit)
        return
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        _Rate(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plain_lines(
    what: str, unit: str, clock: Callable[[], float] = time.monotonic
) -> ProgressCallback:
    """A report that writes a line to stderr soon, and then every ten seconds.

    Parameters
    ----------
    clock
        Seconds, from any start.
    """
    begun = clock()
    due = begun + FIRST_LINE_AFTER

    def report(done: int, total: int | None) -> None:
        nonlocal due
        now = clock()
        if now < due:
            return
        due = now + LINE_EVERY
        line = f"{what}: {done:,}" + (f" of {total:,}" if total else "") + f" {unit}"
        if total and done:
            left = timedelta(seconds=round((now - begun) * (total - done) / done))
            line += f", {done / (now - begun):,.0f} a second, about {left} left"
        typer.echo(line, err=True)

    return report


def place(net: Net, where: Where) -> str:
    """Which engine and device run the ascents, in words."""
    if isinstance(where, DaskCluster):
        return f"{net.engine}, workers of {where.address}"
    here = f"{net.engine}, {net.device}"
    return f"{here}, {where.count} processes" if isinstance(where, LocalProcesses) else here

"""Progress of long work: the callback that receives it, and a meter that adds up its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Called with the amount done and the total, which is None if it is not known.
ProgressCallback = Callable[[int, int | None], None]


class ProgressMeter:
    """Adds up the progress of all parts of some work, and reports the sum.

    It never counts backwards: a part that starts again because its process died is not reported
    until it has passed the point that it reached before.

    Parameters
    ----------
    progress
        Called with the sum and the total whenever the sum grows; None for no reports.
    sizes
        How much there is to do in each part.
    before
        How much was done before the first part; it is added to the sum and the total.
    """

    def __init__(
        self, progress: ProgressCallback | None, sizes: Sequence[int], before: int = 0
    ) -> None:
        self._progress = progress
        self._sizes = list(sizes)
        self._parts = [0] * len(self._sizes)
        self._done, self._total = before, before + sum(sizes)

    def update(self, part: int, done: int) -> None:
        """Note that `done` of a part, counted from 0, is done."""
        if done > self._parts[part]:
            self._done += done - self._parts[part]
            self._parts[part] = done
            self.report()

    def finish(self, part: int) -> None:
        """Note that a part is complete, even if it stopped before its last step."""
        self.update(part, self._sizes[part])

    def report(self) -> None:
        """Report the progress now."""
        if self._progress:
            self._progress(self._done, self._total)

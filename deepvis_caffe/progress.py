"""Progress of long work: the callback that reports it, and a meter that adds up its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# Called with what is done and with the total; a total that is not known is None.
ProgressCallback = Callable[[int, int | None], None]


class ProgressMeter:
    """Adds up what each part of some work has done, and reports the sum.

    It never counts backwards: a part that starts again, because the process that ran it died, is
    not reported until it has passed the point that it had reached before.

    Parameters
    ----------
    progress
        Called with the sum and the total whenever the sum grows; None to report to nobody.
    sizes
        How much there is to do in each part.
    before
        How much was done before the first part; it counts in both numbers.
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
        """Note that all of a part is done, even where it ended before its last step."""
        self.update(part, self._sizes[part])

    def report(self) -> None:
        """Report what is done now."""
        if self._progress:
            self._progress(self._done, self._total)

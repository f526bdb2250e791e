"""How many pictures may be under way to one visitor: ``sent, acknowledged -> ready``.

With one at a time, a page 100 ms away gets ten a second, however fast its line. With many, a slow
line fills up with old ones. So the number follows the time that each takes to be acknowledged: it
grows while that stays near the best seen, and falls when pictures begin to wait for each other (the
idea of TCP Vegas, Brakmo and Peterson 1995).
"""

from __future__ import annotations

import math
from collections import deque

MOST = 6
START = 2
NEAR, FAR = (
    1.5,
    2.0,
)  # of the best time: below the first there is room, above the second there is none
SLACK = 0.01  # seconds; a screen draws no faster than this
FORGET = 1.02  # a picture: so much is added to the best time, so that a slower line is learned


class Pace:
    """Counts pictures under way; times are in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self.window = START
        self._under_way: deque[float] = deque()
        self._best = math.inf

    @property
    def ready(self) -> bool:
        """Whether one more may be sent."""
        return len(self._under_way) < self.window

    def sent(self, now: float) -> None:
        """One more is under way."""
        self._under_way.append(now)

    def acknowledged(self, now: float) -> bool:
        """The oldest has arrived; False if there was none."""
        if not self._under_way:
            return False
        full = not self.ready
        took = now - self._under_way.popleft()
        self._best = min(self._best * FORGET, took)
        if took > FAR * self._best + SLACK:
            self.window = max(self.window - 1, 1)
        elif full and took <= NEAR * self._best + SLACK:
            self.window = min(self.window + 1, MOST)
        return True

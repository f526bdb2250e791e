"""Flow control for one page: pictures are sent to it at a rate that it can handle.

With one picture in flight at a time, a page with 100 ms round-trip time gets ten per second,
however high its bandwidth. With many, a slow link fills up with old pictures. So the window, the
number in flight, follows the round-trip time: it grows while that stays near the best time seen,
and shrinks when pictures begin to queue (the idea of TCP Vegas, Brakmo and Peterson 1995).
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

MOST = 6
START = 2
NEAR, FAR = 1.5, 2.0  # multiples of the best time: grow the window up to NEAR, shrink beyond FAR
SLACK = 0.01  # seconds of tolerance; screens are no faster than this
FORGET = 1.02  # the best time grows by 2% per picture, to adapt to a link that got slower


class Pace:
    """The window of pictures in flight; times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self.window = START
        self._under_way: deque[float] = deque()
        self._best = math.inf

    @property
    def ready(self) -> bool:
        """Whether another picture may be sent."""
        return len(self._under_way) < self.window

    def sent(self, now: float) -> None:
        """Record that a picture was sent."""
        self._under_way.append(now)

    def acknowledged(self, now: float) -> bool:
        """Record that the oldest picture has arrived; False if none was in flight."""
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


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded picture of the screen, ready to be sent to all visitors.

    Attributes
    ----------
    number
        The session's number of the picture, increasing.
    content
        A JPEG file.
    """

    number: int
    content: bytes = field(repr=False)


class Visitor:
    """Sends pictures and messages to one page.

    Of unsent items only the newest are kept: one picture, and one message of each type. So a
    stalled page costs no memory, and offering something never blocks.

    Attributes
    ----------
    number
        Unique among visitors.
    size
        (width, height) of the page's area for pictures; None until the page has sent it.
    webcam
        Whether its webcam is on.
    """

    def __init__(self, number: int, socket: WebSocket, clock: Callable[[], float]) -> None:
        self.number, self._socket, self._clock = number, socket, clock
        self.size: tuple[int, int] | None = None
        self.webcam = False
        self._pace = Pace()
        self._sent = -1  # number of the last picture sent
        self._next: Encoded | None = None
        self._messages: dict[str, dict[str, Any]] = {}
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def takes(self) -> bool:
        """Whether it is ready for a picture."""
        return self._pace.ready and not self._closing

    def offer(self, frame: Encoded) -> None:
        """Queue a picture, unless it was already sent or too many are in flight."""
        if self.takes and frame.number > self._sent:
            self._next = frame
            self._wake.set()

    def acknowledge(self) -> bool:
        """Record that the page has drawn the oldest picture in flight; False if there was none."""
        return self._pace.acknowledged(self._clock())

    def post(self, type_: str, **content: Any) -> None:
        """Queue a message; it replaces an unsent one of the same type."""
        self._messages[type_] = {"type": type_, **content}
        self._wake.set()

    def end(self, reason: str = "") -> None:
        """Notify the page that the session has ended, with the error if any; then send no more."""
        self.post("ended", reason=reason)
        self._closing = True
        self._wake.set()

    async def send(self) -> None:
        """Send what is queued, until the connection is closed or lost."""
        with suppress(WebSocketDisconnect, RuntimeError):  # lost: receiving ends, too
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._messages:
                    message = self._messages.pop(next(iter(self._messages)))
                    await self._socket.send_text(json.dumps(message))
                if self._closing:
                    await self._socket.close()
                    return
                frame, self._next = self._next, None
                if frame is not None:
                    self._sent = frame.number
                    self._pace.sent(self._clock())
                    await self._socket.send_bytes(frame.content)

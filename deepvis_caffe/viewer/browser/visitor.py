"""One page that watches: pictures are sent to it at the rate that it can take.

With one picture under way at a time, a page 100 ms away gets ten a second, however fast its line.
With many, a slow line fills up with old pictures. So their number follows the time until each is
acknowledged: it grows while that stays near the best time seen, and falls when pictures begin to
queue (the idea of TCP Vegas, Brakmo and Peterson 1995).
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
NEAR, FAR = 1.5, 2.0  # times the best time: below NEAR there is room, above FAR there is none
SLACK = 0.01  # seconds; a screen draws no faster than this
FORGET = 1.02  # the best time grows by 2% a picture, so that a line that got slower is noticed


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


@dataclass(frozen=True, eq=False)
class Encoded:
    """A picture of the screen, ready to be sent to all.

    Attributes
    ----------
    number
        The session's, which grows.
    content
        A JPEG file.
    """

    number: int
    content: bytes = field(repr=False)


class Visitor:
    """Sends pictures and messages to one page.

    Of what the page has not taken yet, only the newest is kept: one picture, and one message of
    each type. So a page that stands still costs no memory, and offering something never waits.

    Attributes
    ----------
    number
        Unique among visitors.
    size
        The (width, height) that its page has room for; None until it has sent that.
    webcam
        Whether its webcam is on.
    """

    def __init__(self, number: int, socket: WebSocket, clock: Callable[[], float]) -> None:
        self.number, self._socket, self._clock = number, socket, clock
        self.size: tuple[int, int] | None = None
        self.webcam = False
        self._pace = Pace()
        self._sent = -1  # number of the picture that was sent last
        self._next: Encoded | None = None
        self._messages: dict[str, dict[str, Any]] = {}
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def takes(self) -> bool:
        """Whether it is ready for a picture."""
        return self._pace.ready and not self._closing

    def offer(self, frame: Encoded) -> None:
        """Send a picture, unless it has it or is still busy with others."""
        if self.takes and frame.number > self._sent:
            self._next = frame
            self._wake.set()

    def acknowledge(self) -> bool:
        """It has drawn the oldest picture under way; False if there was none."""
        return self._pace.acknowledged(self._clock())

    def post(self, type_: str, **content: Any) -> None:
        """Send a message, in place of one of the same type that is not sent yet."""
        self._messages[type_] = {"type": type_, **content}
        self._wake.set()

    def end(self, reason: str = "") -> None:
        """Send that the session has ended, and why if it was an error; then send nothing more."""
        self.post("ended", reason=reason)
        self._closing = True
        self._wake.set()

    async def send(self) -> None:
        """Send what was offered, until it is closed or gone."""
        with suppress(WebSocketDisconnect, RuntimeError):  # gone: receiving ends, too
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

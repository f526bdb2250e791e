"""One page that looks on: what is on its way to it, sent at the rate that it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from deepvis_caffe.viewer.browser.pace import Pace


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
    """Sends to one page, and knows what is known of it.

    Of what the page has not taken yet only the newest is kept: of pictures one, of words one of
    each type. So a page that stands still costs no memory, and who offers something never waits.

    Attributes
    ----------
    number
        Tells visitors apart: no two have the same.
    size
        The (width, height) that its page has room for; None until it said so.
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
        self._words: dict[str, dict[str, Any]] = {}
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def takes(self) -> bool:
        """Whether it would take a picture now."""
        return self._pace.ready and not self._closing

    def offer(self, frame: Encoded) -> None:
        """Send a picture, unless it has it or is still busy with others."""
        if self.takes and frame.number > self._sent:
            self._next = frame
            self._wake.set()

    def acknowledge(self) -> bool:
        """It has drawn the oldest picture under way; False if there was none."""
        return self._pace.acknowledged(self._clock())

    def say(self, type_: str, **content: Any) -> None:
        """Send words, instead of those of the same type that it has not taken yet."""
        self._words[type_] = {"type": type_, **content}
        self._wake.set()

    def end(self, reason: str = "") -> None:
        """Say that the session has ended, and why if it did not mean to; then send no more."""
        self.say("ended", reason=reason)
        self._closing = True
        self._wake.set()

    async def send(self) -> None:
        """Send what was offered, until it is closed or gone."""
        with suppress(WebSocketDisconnect, RuntimeError):  # gone: who receives is told, too
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._words:
                    words = self._words.pop(next(iter(self._words)))
                    await self._socket.send_text(json.dumps(words))
                if self._closing:
                    await self._socket.close()
                    return
                frame, self._next = self._next, None
                if frame is not None:
                    self._sent = frame.number
                    self._pace.sent(self._clock())
                    await self._socket.send_bytes(frame.content)

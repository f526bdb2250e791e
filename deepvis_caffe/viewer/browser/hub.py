"""Connects one session with its visitors: keys go in, pictures come out.

Only one task, `Hub.run`, calls the session; visitors' input is queued for it. It draws whenever a
visitor is ready for a picture, and occasionally if none is, so that the session advances. Each
picture is encoded once for all visitors, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from starlette.websockets import WebSocket

from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import encode_jpeg
from deepvis_caffe.viewer.browser.messages import (
    Ack,
    Key,
    Message,
    Mouse,
    Quit,
    Size,
    Take,
    Webcam,
    read_message,
)
from deepvis_caffe.viewer.browser.surface import Surface
from deepvis_caffe.viewer.browser.visitor import Encoded, Visitor
from deepvis_caffe.viewer.browser.webcam import read_webcam

log = logging.getLogger(__name__)

FASTEST = 1 / 60  # seconds between draws
SLOWEST = 0.25  # seconds between draws when no page is ready
MOST_SAVED = 20  # the newest files, which a page offers for download
HEARTBEAT = 2.0  # seconds; pages that receive nothing for longer assume a dead connection
MOST_WAITING = 500  # queued calls of the session; a held key makes about thirty per second
QUALITY = 90  # JPEG quality


class Hub:
    """Keeps track of visitors and of who is in control, and calls the session for them.

    Attributes
    ----------
    error
        The error that ended the session, if any.
    """

    def __init__(self, session: Surface, ended: Callable[[], None] = lambda: None) -> None:
        self._session, self._ended = session, ended
        self._visitors: dict[int, Visitor] = {}  # in order of arrival
        self._controller: Visitor | None = None
        self._arrivals = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = asyncio.Event()
        self._frame = Encoded(-1, b"")
        self._size = (0, 0)  # height and width of the last picture
        self._title = ""
        self._saved = 0  # how many files the pages have been told of
        self._opening = False  # whether an image file is being received
        self._over = self._ending = False
        self.error: Exception | None = None

    async def run(self) -> None:
        """Call the session until it ends; then disconnect all visitors."""
        clock = asyncio.get_running_loop().time
        reason, last_status = "", -HEARTBEAT
        try:
            while self._session.running and not self._ending:
                started = clock()
                known = (self._title, self._saved)
                now = (self._session.title, len(self._session.saved))
                if started - last_status >= HEARTBEAT or now != known:
                    last_status, (self._title, self._saved) = started, now
                    self._send_status()
                while self._calls:
                    self._calls.popleft()()
                await self._draw()
                await asyncio.sleep(max(FASTEST - (clock() - started), 0.0))
                if not (self._calls or self._wants_picture):
                    await self._sleep()
                self._wake.clear()
        except Exception as error:  # visitors are notified of any error
            log.debug("the session failed", exc_info=True)
            self.error, reason = error, str(error) or type(error).__name__
        finally:
            self._over = True
            for visitor in self._visitors.values():
                visitor.end(reason)
            self._ended()

    def refusal(self, visitor: str | None) -> str:
        """Why a visitor may not upload an image file now; empty if it may."""
        controller = self._controller
        if controller is None or visitor != str(controller.number):
            return "another visitor is in control"
        return "another image is being uploaded" if self._opening else ""

    async def open_image(self, content: Awaitable[bytes], name: str) -> None:
        """Receive an image file and make it the input.

        Raises
        ------
        ImageError
            It cannot be read, or is too large.
        """
        self._opening = True
        try:
            picture = await asyncio.to_thread(self._session.read_image, await content)
        finally:
            self._opening = False
        self._call(partial(self._session.open_image, picture, name))

    def file(self, name: str) -> Path | None:
        """The file of that name saved in this session, or None."""
        return next((path for path in self._session.saved if path.name == name), None)

    def end(self) -> None:
        """End as if the session had ended: all visitors are notified."""
        self._ending = True
        self._wake.set()

    @property
    def drained(self) -> bool:
        """Whether the session is over and all visitors have been notified and are gone."""
        return self._over and not self._visitors

    async def attend(self, socket: WebSocket) -> None:
        """Serve one visitor until it leaves."""
        self._arrivals += 1
        visitor = Visitor(self._arrivals, socket, asyncio.get_running_loop().time)
        self._visitors[visitor.number] = visitor
        sending = asyncio.create_task(visitor.send())
        try:
            self._count()
            if self._controller is None:
                self._give_control(visitor)
            if self._over:
                visitor.end()
            while (message := await socket.receive())["type"] == "websocket.receive":
                if message.get("text") is not None:
                    self._receive_text(visitor, message["text"])
                elif message.get("bytes") is not None:
                    await self._receive_webcam(visitor, message["bytes"])
        finally:
            sending.cancel()
            del self._visitors[visitor.number]
            self._count()
            if self._controller is visitor:
                self._give_control(next(iter(self._visitors.values()), None))

    async def _draw(self) -> None:
        number, picture = self._session.draw()
        self._size = picture.shape[:2]
        if number != self._frame.number and self._wants_picture:
            content = await asyncio.to_thread(encode_jpeg, picture, QUALITY)
            self._frame = Encoded(number, content)
        for visitor in self._visitors.values():
            visitor.offer(self._frame)

    @property
    def _wants_picture(self) -> bool:
        """Whether any visitor is ready for a picture."""
        return any(visitor.takes for visitor in self._visitors.values())

    async def _sleep(self) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), SLOWEST)

    def _call(self, call: Callable[[], None]) -> None:
        """Queue a call of the session."""
        if len(self._calls) < MOST_WAITING:
            self._calls.append(call)
            self._wake.set()
        else:
            log.debug("visitors send more than the session can handle: some input is dropped")

    def _receive_text(self, visitor: Visitor, text: str) -> None:
        try:
            message = read_message(text)
        except ValueError as error:
            log.debug("visitor %d: ignored a bad message: %s", visitor.number, error)
            return
        if isinstance(message, Ack):
            if not visitor.acknowledge():
                log.debug("visitor %d acknowledged a picture that was not sent", visitor.number)
            self._wake.set()
        elif isinstance(message, Take):
            self._give_control(visitor)
        elif isinstance(message, Size):
            visitor.size = message.clamped
            if visitor is self._controller:
                self._call(partial(self._session.resize, *visitor.size))
        elif visitor is self._controller:
            self._drive(visitor, message)
        elif isinstance(message, Webcam) and message.on:
            visitor.post("webcam", on=False)

    def _drive(self, visitor: Visitor, message: Message) -> None:
        if isinstance(message, Key):
            self._call(partial(self._press, visitor, message.key))
        elif isinstance(message, Quit):
            self.end()
        elif isinstance(message, Mouse):
            self._call(partial(self._point, message))
        elif isinstance(message, Webcam):
            if message.on:
                visitor.webcam = True
                visitor.post("webcam", on=True)
            else:
                self._stop_webcam(visitor)

    def _press(self, visitor: Visitor, key: str) -> None:
        """Press a key; if it would end the viewer for everybody, ask for confirmation first."""
        if self._session.would_quit(key):
            visitor.post("quit", visitors=len(self._visitors))
        else:
            self._session.press(key)

    def _point(self, message: Mouse) -> None:
        height, width = self._size  # the page may still show an older, larger picture
        if message.kind == "leave" or (message.y < height and message.x < width):
            self._session.mouse(message.kind, message.y, message.x, message.steps)

    async def _receive_webcam(self, visitor: Visitor, content: bytes) -> None:
        """Make a webcam picture the input, then ask the page for the next one."""
        if not visitor.webcam:
            log.debug("visitor %d: ignored %d bytes: no webcam", visitor.number, len(content))
            return
        try:
            picture = await asyncio.to_thread(read_webcam, content)
        except ImageError as error:
            log.debug("visitor %d: %s", visitor.number, error)
            visitor.post("webcam", on=True, trouble=str(error))
            return

        def push() -> None:
            if visitor.webcam:  # may have been stopped meanwhile
                self._session.push(picture, f"webcam of visitor {visitor.number}")
                visitor.post("webcam", on=True)

        self._call(push)

    def _stop_webcam(self, visitor: Visitor) -> None:
        if visitor.webcam:
            visitor.webcam = False
            visitor.post("webcam", on=False)
            self._call(self._session.end_push)

    def _give_control(self, visitor: Visitor | None) -> None:
        if self._controller is not None and self._controller is not visitor:
            self._stop_webcam(self._controller)
            self._call(partial(self._session.mouse, "leave", 0, 0))
        self._controller = visitor
        if visitor is not None and visitor.size is not None:
            self._call(partial(self._session.resize, *visitor.size))
        self._send_status()

    def _count(self) -> None:
        self._call(partial(self._session.set_visitors, len(self._visitors)))
        self._send_status()

    def _send_status(self) -> None:
        for visitor in self._visitors.values():
            visitor.post(
                "status",
                title=self._title,
                visitor=visitor.number,
                visitors=len(self._visitors),
                controller=self._controller.number if self._controller else None,
                saved=[path.name for path in self._session.saved[-MOST_SAVED:]],
            )

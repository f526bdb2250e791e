"""Connections that must say what they want: nobody keeps the others out by saying nothing.

uvicorn waits for the rest of a request for as long as the connection lasts. So whoever can connect,
token or not, could open connections until this process has no file descriptors left.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds for a request, from its first byte or the connection's beginning
MOST_WAITING = 64  # connections without a whole request; one more ends the one that waits longest


def impatient(patience: float = PATIENCE, most: int = MOST_WAITING) -> type[H11Protocol]:
    """A protocol for uvicorn that ends connections whose request does not come.

    Parameters
    ----------
    patience
        Seconds that a request may take to arrive.
    most
        How many connections may wait for theirs at a time.
    """
    waiting: dict[H11Protocol, asyncio.TimerHandle] = {}  # in the order in which they began

    class Connection(H11Protocol):
        """HTTP on one connection, until it becomes a WebSocket."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()
            if len(waiting) > most:
                next(iter(waiting)).transport.close()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self._wait()
            else:
                self._wait_no_more()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._wait_no_more()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self not in waiting:
                waiting[self] = self.loop.call_later(patience, self.transport.close)

        def _wait_no_more(self) -> None:
            if timer := waiting.pop(self, None):
                timer.cancel()

    return Connection


def say_when_full(
    say: Callable[[str], Any] = log.warning,
) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An event loop's exception handler that needs one line where file descriptors run out.

    Parameters
    ----------
    say
        Called with that line, at the first time.
    """
    told = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            if not told:
                told = True
                say(
                    "too many connections: this process may open no more files (ulimit -n). New "
                    "visitors have to wait until others leave"
                )
            return
        loop.default_exception_handler(context)

    return handle

"""HTTP connections with a request timeout, so that idle connections cannot lock visitors out.

uvicorn waits for the rest of a request for as long as the connection lasts. So anyone who can
connect, with or without the token, could open connections until this process runs out of file
descriptors.
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

PATIENCE = 10.0  # seconds for a request, from its first byte or the start of the connection
MOST_WAITING = 64  # connections without a complete request; one more closes the oldest


def timeout_protocol(patience: float = PATIENCE, most: int = MOST_WAITING) -> type[H11Protocol]:
    """A protocol for uvicorn that closes connections whose request does not arrive in time.

    Parameters
    ----------
    patience
        Seconds that a request may take to arrive.
    most
        How many connections may be waiting for a request at a time.
    """
    waiting: dict[H11Protocol, asyncio.TimerHandle] = {}  # oldest first

    class Connection(H11Protocol):
        """One HTTP connection, until it is upgraded to a WebSocket."""

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
    """An event loop's exception handler that logs only once that file descriptors run out.

    Parameters
    ----------
    say
        Called with the message, the first time only.
    """
    told = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            if not told:
                told = True
                say(
                    "too many connections: this process may not open more files (ulimit -n). New "
                    "visitors have to wait until others leave"
                )
            return
        loop.default_exception_handler(context)

    return handle

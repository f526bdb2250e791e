"""Serve the viewer as a web page until the session ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deepvis_caffe.errors import ViewerError
from deepvis_caffe.resources import pip_install
from deepvis_caffe.viewer.browser.gate import Gate, is_loopback
from deepvis_caffe.viewer.browser.surface import Surface

if TYPE_CHECKING:  # starlette may be missing
    from deepvis_caffe.viewer.browser.hub import Hub

log = logging.getLogger(__name__)

MOST_MESSAGE_BYTES = 4 << 20  # a larger message closes the connection
FAREWELL = 2.0  # seconds to wait until pages have been notified; dead connections never are
EVERYWHERE = ("0.0.0.0", "::", "")


def serve(
    session: Surface,
    host: str,
    port: int,
    token: str | None = None,
    say: Callable[[str], Any] = log.info,
    patience: float | None = None,
) -> None:
    """Show a session in a web page until it ends by its quit key, a signal or an error.

    In any case, pages are notified first. A second Ctrl-C does not wait for them.

    Parameters
    ----------
    session
        Called on this thread only.
    host, port
        Where to listen. Port 0 takes any free port.
    token
        What the page's URL must carry. If None and other machines can reach the host, a random one
        is generated.
    say
        Called with each line of text that says where the page is.
    patience
        Request timeout of connections, seconds;
        `deepvis_caffe.viewer.browser.connection.PATIENCE` by default.

    Raises
    ------
    ViewerError
        A package is missing, the host or port is not available, or the token is empty.
    """
    if token is not None and not token.strip():
        raise ViewerError(
            "the token is empty, perhaps from a shell variable that is not set, and everybody "
            "would get in: give one (--token), or leave it out for a new one"
        )
    check_packages()
    import uvicorn

    from deepvis_caffe.viewer.browser.app import app
    from deepvis_caffe.viewer.browser.connection import PATIENCE, say_when_full, timeout_protocol

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    listener = _listen(host, port)
    with listener:

        class Server(uvicorn.Server):
            """Notifies pages before closing their connections, so that they do not reconnect."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                asyncio.get_running_loop().set_exception_handler(say_when_full(say))
                await super().startup(sockets)

            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                hub.end()
                until = time.monotonic() + FAREWELL
                while not (hub.drained or self.force_exit) and time.monotonic() < until:
                    await asyncio.sleep(0.02)
                await super().shutdown(sockets)

        def stop() -> None:
            server.should_exit = True

        application = app(session, Gate(host, token), stop)
        hub: Hub = application.state.hub
        server = Server(
            uvicorn.Config(
                application,
                lifespan="on",
                http=timeout_protocol(PATIENCE if patience is None else patience),
                log_config=None,  # logging is configured by us
                access_log=False,
                server_header=False,
                ws_max_size=MOST_MESSAGE_BYTES,
                ws_per_message_deflate=False,  # JPEGs do not compress further
                ws_ping_interval=5,  # so that a visitor with a dead connection loses control
                ws_ping_timeout=10,
                timeout_graceful_shutdown=2,
            )
        )
        for line in _addresses(host, listener.getsockname()[1], token):
            say(line)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt as interrupt:  # uvicorn re-raises it after shutdown
            if type(interrupt) is not KeyboardInterrupt:  # another signal, for the caller to handle
                raise
            log.debug("ended by Ctrl-C")
        if hub.error is not None:
            raise hub.error


def check_packages() -> None:
    """Import the packages needed for serving; raise `ViewerError` if one is missing."""
    try:
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401  # else uvicorn starts, but rejects WebSockets

        import deepvis_caffe.viewer.browser.app
        import deepvis_caffe.viewer.browser.connection  # noqa: F401
    except ImportError as error:
        raise ViewerError(
            f"the viewer in a browser needs {error.name}: {pip_install('browser')}"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    what = f"cannot listen at {host}, port {port}"
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise ViewerError(
            f"{what}: there is no such host ({error.strerror}); leave --host out to be reached "
            "from this machine alone"
        ) from error
    except OverflowError as error:
        raise ViewerError(f"{what}: the port must be between 0 and 65535") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = port + 1 if port < 65535 else port - 1
            raise ViewerError(
                f"{what}: another program uses it, perhaps another viewer; end that one, or choose "
                f"another port (--port {other}, or 0 for any free one)"
            ) from error
        raise ViewerError(
            f"{what}: {error.strerror}; choose a port from 1024 up (--port) and an address of this "
            "machine (--host)"
        ) from error


def _addresses(host: str, port: int, token: str | None) -> list[str]:
    """Lines that say where the page is."""
    name = socket.gethostname() if host in EVERYWHERE else host
    query = f"?token={quote(token, safe='')}" if token else ""
    lines = [f"the viewer is at http://{f'[{name}]' if ':' in name else name}:{port}/{query}"]
    if is_loopback(host) and "SSH_CONNECTION" in os.environ:
        lines.append(
            f"to open that on your own machine: ssh -L {port}:127.0.0.1:{port} "
            f"{socket.gethostname()}"
        )
    return lines

"""Serve the viewer as a web page, `serve`, to those who may see it, `Gate`.

Anyone who can connect controls the viewer and sees its input. Two attacks are blocked: cross-site
WebSocket connections, and DNS rebinding. In the first, another page in the same browser opens our
WebSocket; browsers allow that, but send the page's `Origin`. In the second, a foreign name is made
to point at this machine; then `Origin` and `Host` agree, but are not ours. Where other machines can
reach the port, visitors need a token.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deepvis_caffe.errors import ViewerError

if TYPE_CHECKING:  # starlette may be missing
    from deepvis_caffe.viewer.browser.hub import Hub, Surface

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 8008
MOST_BYTES = 4 << 20  # of one message; more ends the connection
FAREWELL = 2.0  # seconds that pages have to receive the end; one whose line is dead never does
EVERYWHERE = ("0.0.0.0", "::", "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Gate:
    """The rule for one server.

    Attributes
    ----------
    host
        What it is bound to.
    token
        What an address must carry as ``?token=``; None where only this machine can ask.
    """

    host: str
    token: str | None = field(default=None, repr=False)

    def refusal(self, headers: Mapping[str, str], token: str | None) -> str:
        """Why a request is refused; empty if it is not.

        Parameters
        ----------
        headers
            By lower-case name.
        token
            The one that the address carries.
        """
        host = headers.get("host", "")
        if self.token is not None:
            # Bytes: compare_digest takes no text with other than ASCII characters.
            if not secrets.compare_digest((token or "").encode(), self.token.encode()):
                return "this address needs ?token= as the viewer's terminal shows it"
        elif not self._is_ours(host):
            return f"unexpected Host {host!r}; open http://127.0.0.1:PORT"
        # Programs other than browsers send no Origin, and could send any.
        origin = headers.get("origin")
        if origin is not None and _after_scheme(origin) != host.lower():
            return f"a page from {origin} may not use the viewer"
        return ""

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine; its port may be a tunnel's."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets that do not match
            return False
        return is_loopback(name) or name == self.host.lower()


def _after_scheme(origin: str) -> str:
    """Name and port of an Origin header, which has nothing else; empty for ``null``."""
    return origin.lower().partition("://")[2]


def serve(
    session: Surface,
    host: str = HOST,
    port: int = PORT,
    token: str | None = None,
    say: Callable[[str], Any] = log.info,
) -> None:
    """Show a session in a web page until it ends: by its own key, by a signal, or by an error.

    However it ends, pages are notified first. A second Ctrl-C does not wait for them.

    Parameters
    ----------
    session
        Called from this thread alone.
    host, port
        Where to listen. Port 0 takes any free one.
    token
        What the page's address must carry. Where other machines can reach the host and there is
        none, a random one is made.
    say
        Called with each line of text that says where the page is.

    Raises
    ------
    ViewerError
        A package is missing, or the host or port cannot be had.
    """
    try:
        import uvicorn
        import websockets  # noqa: F401  # uvicorn would do without, and refuse the page's connection

        from deepvis_caffe.viewer.browser.app import app
    except ImportError as error:
        raise ViewerError(
            f"the viewer in a browser needs {error.name}: pip install 'deepvis_caffe[browser]'"
        ) from error
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    listener = _listen(host, port)
    with listener:

        class Server(uvicorn.Server):
            """Notifies the pages before it closes their connections, or they would reconnect."""

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
                log_config=None,  # its log is ours to show
                access_log=False,
                server_header=False,
                ws_max_size=MOST_BYTES,
                ws_per_message_deflate=False,  # a JPEG does not shrink
                ws_ping_interval=5,  # a visitor whose line is dead does not keep control
                ws_ping_timeout=10,
                timeout_graceful_shutdown=2,
            )
        )
        for line in _addresses(host, listener.getsockname()[1], token):
            say(line)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn has shut down, and raises it again
            log.debug("ended by Ctrl-C")
        if hub.error is not None:
            raise hub.error


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
            raise ViewerError(
                f"{what}: another program uses it, perhaps another viewer; end that one, or choose "
                f"another port (--port {port + 1 if port < 65535 else PORT}), 0 for any free one"
            ) from error
        raise ViewerError(
            f"{what}: {error.strerror}; choose a port from 1024 up (--port) and an address of this "
            "machine (--host)"
        ) from error


def _addresses(host: str, port: int, token: str | None) -> list[str]:
    """Lines that say where the page is."""
    name = socket.gethostname() if host in EVERYWHERE else host
    query = f"?token={token}" if token else ""
    lines = [f"the viewer is at http://{f'[{name}]' if ':' in name else name}:{port}/{query}"]
    if is_loopback(host) and "SSH_CONNECTION" in os.environ:
        lines.append(
            f"to open that on your own machine: ssh -L {port}:127.0.0.1:{port} "
            f"{socket.gethostname()}"
        )
    return lines

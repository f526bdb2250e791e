"""Who may come in, and the server's two addresses: the page at ``/``, and ``/ws``.

Whoever talks to the viewer drives it, and sees what it sees. Two ways must be shut: another page in
the same browser that opens our WebSocket (browsers let it, but send its `Origin`), and a name of
somebody else's that comes to point at this machine ("DNS rebinding": then `Origin` and `Host`
agree, and are not ours). Where other machines can reach the port, a token proves who asks.

Style and scripts are part of it, so that there is one address to guard, and nothing else to fetch.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from deepvis_caffe.page.single_file import PageTemplates, source_hash
from deepvis_caffe.viewer.browser.hub import Hub, Surface


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
            return f"the viewer is not at {host!r}; open http://127.0.0.1 and its port"
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


SCRIPTS = ("keys.js", "bar.js", "screen.js", "pointer.js", "webcam.js", "link.js", "main.js")


def page_html(title: str) -> tuple[str, str]:
    """The page, and its Content-Security-Policy."""
    templates = PageTemplates("deepvis_caffe.viewer.browser")
    own = {"style": templates.joined(["style.css"]), "script": templates.script(SCRIPTS)}
    return templates.render(own, title=title), _policy(**own)


def _policy(style: str, script: str) -> str:
    """Run this script, talk to where the page came from, nothing else; be in no other's frame."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"connect-src 'self'; img-src data:; style-src {source_hash(style)}; "
        f"script-src {source_hash(script)}"
    )


def app(session: Surface, gate: Gate, ended: Callable[[], None] = lambda: None) -> Starlette:
    """The application that shows a session.

    Parameters
    ----------
    session
        Called from the event loop's thread alone, from start-up to shut-down.
    gate
        Who may come in.
    ended
        Called once when the session has ended, after every visitor was told.

    Returns
    -------
    Starlette
        `state.hub` is the `Hub`, which knows whether an error ended it.
    """
    hub = Hub(session, ended)

    async def page(request: Request) -> Response:
        why_not = gate.refusal(request.headers, request.query_params.get("token"))
        if why_not:
            return PlainTextResponse(f"{why_not}\n", 403)
        html, policy = page_html(session.title)
        headers = {
            "content-security-policy": policy,
            "permissions-policy": "camera=(self)",
            "referrer-policy": "no-referrer",  # the address may hold the token
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        return HTMLResponse(html, headers=headers)

    async def talk(socket: WebSocket) -> None:
        if gate.refusal(socket.headers, socket.query_params.get("token")):
            await socket.close()  # not accepted yet: the answer is 403
            return
        await socket.accept()
        await hub.attend(socket)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(hub.run())
        yield
        running.cancel()

    routes = [Route("/", page), WebSocketRoute("/ws", talk)]
    application = Starlette(routes=routes, lifespan=lifespan)
    application.state.hub = hub
    return application

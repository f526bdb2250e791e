"""The server's two addresses: the page at ``/``, and the WebSocket at ``/ws``.

Style and scripts are part of the page, so that there is one address to guard, and nothing else to
fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from deepvis_caffe.page.single_file import PageTemplates, source_hash
from deepvis_caffe.viewer.browser.gate import Gate
from deepvis_caffe.viewer.browser.hub import Hub
from deepvis_caffe.viewer.browser.surface import Surface

SCRIPTS = ("keys.js", "bar.js", "screen.js", "pointer.js", "webcam.js", "link.js", "main.js")


NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "permissions-policy": "camera=(self)",
    "referrer-policy": "no-referrer",  # the address may hold the token
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def page_html(title: str) -> tuple[str, str]:
    """The page, and its Content-Security-Policy."""
    templates = PageTemplates("deepvis_caffe.viewer.browser")
    own = {"style": templates.joined(["style.css"]), "script": templates.script(SCRIPTS)}
    return templates.render(own, title=title), _policy(**own)


def _policy(style: str, script: str) -> str:
    """Run this script, talk to where the page came from, nothing else; be in no other's frame."""
    return (
        f"{NOTHING}; connect-src 'self'; img-src data:; style-src {source_hash(style)}; "
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
        Called once when the session has ended, after every visitor was notified.

    Returns
    -------
    Starlette
        `state.hub` is the `Hub`, which knows whether an error ended it.
    """
    hub = Hub(session, ended)

    async def page(request: Request) -> Response:
        why_not = gate.refusal(request.headers, request.query_params.get("token"))
        if why_not:
            headers = {**HEADERS, "content-security-policy": NOTHING}
            return PlainTextResponse(f"{why_not}\n", 403, headers)
        html, policy = page_html(session.title)
        return HTMLResponse(html, headers={**HEADERS, "content-security-policy": policy})

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

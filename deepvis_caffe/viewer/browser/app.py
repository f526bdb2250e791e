"""The server's routes: the page at ``/``, its WebSocket at ``/ws``, ``/image`` for uploads of image
files, and ``/saved/NAME`` for downloads of screenshots and videos. One gate guards all of them.

Styles and scripts are inlined, so that the page has nothing else to fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import PurePath

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from deepvis_caffe.errors import ImageError
from deepvis_caffe.limits import DROPPED_IMAGE, MIB
from deepvis_caffe.page.single_file import PageTemplates, source_hash
from deepvis_caffe.viewer.browser.gate import Gate
from deepvis_caffe.viewer.browser.hub import Hub
from deepvis_caffe.viewer.browser.surface import Surface
from deepvis_caffe.viewer.state.actions import button_table

SCRIPTS = (
    *("keys.js", "bar.js", "buttons.js", "screen.js", "pointer.js", "webcam.js", "link.js"),
    *("files.js", "main.js"),
)
LONGEST_NAME = 100  # displayed characters of an image's name

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "permissions-policy": "camera=(self)",
    "referrer-policy": "no-referrer",  # the URL may contain the token
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
    values = {"buttons": button_table(), "most_bytes": DROPPED_IMAGE}
    return templates.render(own, title=title, **values), _policy(**own)


def _policy(style: str, script: str) -> str:
    """Allow only this style and script, and connections to the page's own origin; no framing."""
    return (
        f"{NOTHING}; connect-src 'self'; img-src data:; style-src {source_hash(style)}; "
        f"script-src {source_hash(script)}"
    )


_CLOSED = {**HEADERS, "content-security-policy": NOTHING}


def _answer(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n" if text else "", status, _CLOSED)


async def _body(request: Request) -> bytes:
    """Receive the body, an image file, up to the size limit."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > DROPPED_IMAGE:
            raise ImageError(
                f"the image file is larger than {DROPPED_IMAGE // MIB} MiB, the largest accepted"
            )
    return bytes(content)


def app(session: Surface, gate: Gate, ended: Callable[[], None] = lambda: None) -> Starlette:
    """The application that shows a session.

    Parameters
    ----------
    session
        Called on the event loop's thread only, from start-up to shut-down.
    gate
        Controls access.
    ended
        Called once when the session has ended, after all visitors have been notified.

    Returns
    -------
    Starlette
        `state.hub` is the `Hub`, which knows whether the session ended with an error.
    """
    hub = Hub(session, ended)

    async def page(request: Request) -> Response:
        why_not = gate.refusal(request.headers, request.query_params.get("token"))
        if why_not:
            return _answer(why_not, 403)
        html, policy = page_html(session.title)
        return HTMLResponse(html, headers={**HEADERS, "content-security-policy": policy})

    async def image(request: Request) -> Response:
        why_not = gate.refusal(request.headers, request.query_params.get("token"))
        if why_not:
            return _answer(why_not, 403)
        why_not = hub.refusal(request.query_params.get("visitor"))
        if why_not:
            return _answer(why_not, 409)
        name = PurePath(request.query_params.get("name", "")).name[:LONGEST_NAME] or "image"
        try:
            await hub.open_image(_body(request), name)
        except ImageError as error:
            return _answer(str(error), 400)
        except ClientDisconnect:
            return _answer("the image did not arrive", 400)
        return _answer("", 200)

    async def saved(request: Request) -> Response:
        why_not = gate.refusal(request.headers, request.query_params.get("token"))
        if why_not:
            return _answer(why_not, 403)
        path = hub.file(request.path_params["name"])
        if path is None or not path.is_file():
            return _answer("there is no such file", 404)
        return FileResponse(path, filename=path.name, headers=_CLOSED)

    async def talk(socket: WebSocket) -> None:
        if gate.refusal(socket.headers, socket.query_params.get("token")):
            await socket.close()  # before accept: the response is 403
            return
        await socket.accept()
        await hub.attend(socket)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(hub.run())
        yield
        running.cancel()

    routes = [
        Route("/", page),
        Route("/image", image, methods=["POST"]),
        Route("/saved/{name}", saved),
        WebSocketRoute("/ws", talk),
    ]
    application = Starlette(routes=routes, lifespan=lifespan)
    application.state.hub = hub
    return application

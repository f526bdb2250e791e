"""The viewer in a web page, for machines without a screen: `serve.serve`.

The page shows pictures and sends keys; the rest of the viewer is the same. `serve` binds the port,
`gate` controls access, `app` defines the routes, `hub` connects the session (a `surface`) with its
visitors, `visitor` sends pictures to one page at a rate that it can handle, `messages` and `webcam`
validate what a page sends, and `templates` holds the page itself. Starlette and uvicorn (the extra
``browser``) are imported only when `serve` is called.
"""

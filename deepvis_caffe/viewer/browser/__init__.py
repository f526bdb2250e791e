"""The viewer in a web page, for a machine without a screen: `serve.serve`.

The page shows pictures and sends keys; everything else is the same viewer. `serve` binds the port,
`gate` decides who may open the page, `app` is the page and its two addresses, `hub` connects the
session, a `surface`, with its visitors, `visitor` sends pictures to one page at the rate that it
can take, `messages` and `webcam` check what a page sends, and `templates` is the page itself.
Starlette and uvicorn (the extra ``browser``) are imported when `serve` is called.
"""

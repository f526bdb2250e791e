"""The viewer in a web page, for a machine without a screen: `serve.serve`.

The page shows pictures and sends keys; everything else is the same viewer. `serve` binds the port
and holds the rule of who may come in, `app` is the page and the two addresses, `hub` connects the
session with its visitors, `visitor` sends pictures to one page at the rate that it takes,
`messages` is what a page may send, and `templates` is the page itself. Starlette and uvicorn (the
extra ``browser``) are imported when `serve` is called.
"""

"""The viewer in a web page, for a machine without a screen: `serve.serve`.

The page shows pictures and sends keys; all else is the same viewer. `serve` binds the port, `gate`
says who may come in, `app` is the two addresses, `hub` goes between the session and its `Visitor`s,
`messages` is what they may say, `pace` how fast they are sent pictures, `page` and `templates` the
page itself. Starlette and uvicorn (the extra ``browser``) are imported when it is called.
"""

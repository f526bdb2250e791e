"""The page: ``title -> its text, and the policy that a browser holds it to``.

Style and scripts are part of it, so that there is one address to guard, and nothing else to fetch.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

SCRIPTS = ("keys.js", "bar.js", "screen.js", "pointer.js", "webcam.js", "link.js", "main.js")


def page_html(title: str) -> tuple[str, str]:
    """The page, and its Content-Security-Policy."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("deepvis_caffe.viewer.browser", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )

    def source(*names: str) -> str:
        loader: Any = environment.loader
        return "\n".join(loader.get_source(environment, name)[0] for name in names)

    script = f'\n"use strict";\n(() => {{\n{source(*SCRIPTS)}}})();\n'
    style = source("style.css")
    html = environment.get_template("page.html").render(
        title=title, style=Markup(style), script=Markup(script)
    )
    return html, _policy(script, style)


def _policy(script: str, style: str) -> str:
    """Run this script, talk to where the page came from, nothing else; be in no other's frame."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"connect-src 'self'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

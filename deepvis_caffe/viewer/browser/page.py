"""The page: ``title -> its text, and the policy that a browser holds it to``.

Style and scripts are part of it, so that there is one address to guard, and nothing else to fetch.
"""

from __future__ import annotations

from deepvis_caffe.gallery.one_file import PageTemplates, source_hash

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

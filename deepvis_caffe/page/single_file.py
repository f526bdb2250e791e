"""A page in one file, with inline style and script: ``templates of a package -> text``.

A hash in its Content-Security-Policy tells the browser to run only that script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any


class PageTemplates:
    """The folder ``templates`` of a package. jinja2 is imported on first use.

    Parameters
    ----------
    package
        The package's dotted name.
    """

    def __init__(self, package: str) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self._loader: Any = PackageLoader(package, "templates")
        self._environment = Environment(
            loader=self._loader, autoescape=True, undefined=StrictUndefined
        )

    def joined(self, names: Iterable[str]) -> str:
        """Files of the folder, concatenated unchanged."""
        sources = (self._loader.get_source(self._environment, name)[0] for name in names)
        return "\n".join(sources)

    def script(self, names: Iterable[str]) -> str:
        """Scripts joined into one function, so that none of their names is global."""
        return f'\n"use strict";\n(() => {{\n{self.joined(names)}}})();\n'

    def render(self, safe: dict[str, str], **values: Any) -> str:
        """The text of ``page.html``.

        Parameters
        ----------
        safe
            Values to insert unescaped: our own style and script. All others are escaped.
        """
        from markupsafe import Markup

        own = {name: Markup(text) for name, text in safe.items()}
        return self._environment.get_template("page.html").render(**values, **own)


def source_hash(text: str) -> str:
    """The source expression with which a Content-Security-Policy allows a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

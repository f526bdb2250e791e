"""A page that is one file: ``templates of a package -> text``, with its style and script inside.

A page holds its own code, so that there is nothing else to fetch or to guard; a browser is told by
the code's hash that it may run just that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any


class PageTemplates:
    """The folder ``templates`` of a package; jinja2 is imported here, on first use.

    Parameters
    ----------
    package
        Its dotted name.
    """

    def __init__(self, package: str) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self._loader: Any = PackageLoader(package, "templates")
        self._environment = Environment(
            loader=self._loader, autoescape=True, undefined=StrictUndefined
        )

    def joined(self, names: Iterable[str]) -> str:
        """Files of the folder as they are, one after the other."""
        sources = (self._loader.get_source(self._environment, name)[0] for name in names)
        return "\n".join(sources)

    def script(self, names: Iterable[str]) -> str:
        """Scripts as one, whose names nobody outside of it sees."""
        return f'\n"use strict";\n(() => {{\n{self.joined(names)}}})();\n'

    def render(self, safe: dict[str, str], **values: Any) -> str:
        """The text of ``page.html``.

        Parameters
        ----------
        safe
            Values that go in as they are: our own style and code. All others are escaped.
        """
        from markupsafe import Markup

        own = {name: Markup(text) for name, text in safe.items()}
        return self._environment.get_template("page.html").render(**values, **own)


def source_hash(text: str) -> str:
    """The text of a script or style as a Content-Security-Policy allows it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

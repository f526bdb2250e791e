"""MkDocs hooks that turn the pages of `docs/`, which are written for a repository, into a site.

- Pages of the repository outside `docs/` become pages of the site, below ``repository/``.
- Links to and from them are changed accordingly. A link to anything else in the repository becomes
  plain text, because the site does not have the target.
- Equations become MathML, which browsers render without an external script.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "tools/pycaffe/README.md",
)
BELOW = "repository/"

_CODE = re.compile(r"^(?: *)(`{3,}|~{3,}).*?^ *\1 *$|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)", re.M | re.S)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^)\s]+)\)")
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
_LOADED = re.compile(r"<(?:link|script|img|iframe|source)[^>]*(?:href|src)=.(?:https?:)?//[^>]*>")
_INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages outside `docs/`."""
    from mkdocs.structure.files import File

    for name in OUTSIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, BELOW + name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Change a page's links and equations, except in code."""
    source = page.file.src_uri
    known = {file.src_uri for file in files}
    return outside_code(markdown, lambda text: mathml(relinked(text, source, known)))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Apply `change` to the text outside fenced blocks and inline code.

    Inline code within a link's text does not break the link: it is restored afterwards.
    """
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\x02{len(kept) - 1}\x03"

    changed = change(_CODE.sub(keep, markdown))
    return re.sub("\x02(\\d+)\x03", lambda match: kept[int(match[1])], changed)


def relinked(text: str, source: str, known: set[str]) -> str:
    """The links of a page's text, as the site needs them.

    Parameters
    ----------
    text
        Markdown without code.
    source
        The page's path in the site.
    known
        Paths of all files in the site.
    """
    here = source.removeprefix(BELOW) if source.startswith(BELOW) else f"docs/{source}"

    def change(match: re.Match[str]) -> str:
        path, mark, anchor = match["target"].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        named = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        address = named.removeprefix("docs/") if named.startswith("docs/") else BELOW + named
        if named in ("docs", "docs/"):
            address = "index.md"
        if address not in known:
            return match["text"]
        to = posixpath.relpath(address, posixpath.dirname(source) or ".")
        return f"{match['image']}[{match['text']}]({to}{mark}{anchor})"

    return _LINK.sub(change, text)


def mathml(text: str) -> str:
    """The text with its equations (LaTeX between dollars) as MathML."""
    if "$" not in text:
        return text
    from latex2mathml.converter import convert

    text = _DISPLAY.sub(lambda m: convert(m[1].strip(), display="block"), text)
    # In a span, because Markdown treats MathML at the beginning of a line as a block.
    return _INLINE.sub(lambda m: f"<span>{convert(m[1])}</span>", text)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Stop if a page would load something from another site."""
    from mkdocs.exceptions import PluginError

    found = _LOADED.findall(output)
    if found:
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {found[0]}")
    return output

"""Code in the documentation: fenced blocks with their markers, and inline code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_MARKER = re.compile(
    r"<!-- test: (?P<how>[a-z ]+?)(?: \((?P<commands>[a-z, -]+)\))?: (?P<why>.+) -->"
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page, line
        Where its first line of code is; lines are counted from 1.
    language
        As written behind the fence.
    code
        Its text.
    how
        How it is tested where that is not the usual way, from a comment right above the fence,
        ``<!-- test: parse only: why -->``; empty where there is none.
    commands
        The subcommands that `how` is meant for; all where there are none.
    """

    page: Path
    line: int
    language: str
    code: str
    how: str = ""
    commands: tuple[str, ...] = ()


def fenced_blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, text in enumerate(lines):
        if not text.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = lines[start - 1] if start else ""
        marker = _MARKER.fullmatch(above)
        assert marker or not above.startswith("<!-- test"), f"{page}:{start}: no reason: {above}"
        yield Block(
            page,
            start + 2,
            lines[start][3:].strip(),
            "\n".join(lines[start + 1 : number]) + "\n",
            marker["how"] if marker else "",
            tuple(re.split(", *", marker["commands"])) if marker and marker["commands"] else (),
        )
        start = None
    assert start is None, f"{page}:{start}: a block without an end"


def inline_code(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of everything in single backticks outside of fenced blocks."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    for match in re.finditer(r"(?<!`)`([^`]+)`(?!`)", text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match[1].split())

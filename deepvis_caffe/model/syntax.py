"""The syntax of protobuf's text format: ``text -> Block``, a tree of fields with their lines.

The library's own parser needs a schema with every field and stops at the first unexpected one. Real
prototxts contain fields of dozens of Caffe forks, so this parser accepts any field names and builds
a tree; `deepvis_caffe.model.prototxt` interprets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_DEPTH = 100  # of nested blocks; real files have at most about 6


class SyntaxFault(ValueError):
    """The text is not in protobuf's text format.

    Attributes
    ----------
    line
        The line, from 1.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class Scalar(NamedTuple):
    """A value as written.

    Attributes
    ----------
    text
        A number, a word, or the content of a string between its quotes, including escapes, with
        adjacent strings joined.
    quoted
        Whether it is a string.
    """

    text: str
    quoted: bool

    def __str__(self) -> str:
        return f'"{self.text}"' if self.quoted else self.text


class Field(NamedTuple):
    """One field of a block; a list is several fields with the same name."""

    name: str
    line: int
    value: Scalar | Block


@dataclass
class Block:
    """The content of a pair of braces, or the whole text.

    Attributes
    ----------
    line
        The line on which it starts.
    fields
        In the order of the text.
    """

    line: int = 1
    fields: list[Field] = field(default_factory=list)

    def get(self, name: str) -> Field | None:
        """The last field with that name."""
        return next((one for one in reversed(self.fields) if one.name == name), None)

    def text(self, name: str) -> str:
        """The value of the last scalar with that name as written; empty if there is none."""
        found = self.get(name)
        return found.value.text if found and isinstance(found.value, Scalar) else ""

    def words(self) -> Iterator[str]:
        """Names and values in order, without comments and whitespace."""
        for one in self.fields:
            yield one.name
            if isinstance(one.value, Block):
                yield "{"
                yield from one.value.words()
                yield "}"
            else:
                yield str(one.value)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_TOKEN = re.compile(
    r"""(?P<skip>[^\S\n]+|\#[^\n]*)|(?P<newline>\n)
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<placeholder>\$\{[^{}\n]*\}|\$\([^()\n]*\)|\{\{[^{}\n]*\}\}|%\(\w+\)[a-z])
    |(?P<open>[{<])|(?P<close>[}>])|(?P<colon>:)|(?P<end>[,;])|(?P<list>\[)|(?P<unlist>\])
    |(?P<word>[^\s{}<>\[\]:,;"'\#]+)|(?P<stray>.)""",
    re.VERBOSE,
)
_CONFLICT = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)


def parse(text: str) -> Block:
    """The tree of a text.

    Raises
    ------
    SyntaxFault
        A brace, a value or a quote is missing or surplus, or the text has merge conflict markers.
    """
    if marker := _CONFLICT.search(text):
        line = text.count("\n", 0, marker.start()) + 1
        raise SyntaxFault(
            line,
            f"a merge conflict marker, {marker.group().strip()!r}; keep one of its two sides",
        )
    tokens = list(_tokens(text))
    root = Block()
    stack = [root]
    at = 0
    while at < len(tokens):
        kind, word, line = tokens[at]
        at += 1
        if kind == "close":
            if len(stack) == 1:
                raise SyntaxFault(line, f"unmatched {word!r}; remove it")
            stack.pop()
        elif kind == "word":
            at = _field(tokens, at, word, line, stack)
        elif kind != "end":
            raise SyntaxFault(line, f"expected a field name, got {word}")
    if len(stack) > 1:
        raise SyntaxFault(
            stack[-1].line, "a '{' that is never closed: Expected '}' before the file's end"
        )
    return root


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "stray"
        if kind == "newline":
            line += 1
        elif kind == "stray" and match.group() in "\"'":
            raise SyntaxFault(line, "a string without a closing quote")
        elif kind != "skip":
            yield _Token(kind, match.group(), line)


def _field(tokens: Sequence[_Token], at: int, name: str, line: int, stack: list[Block]) -> int:
    """Add the field whose name precedes token `at`; return the index of the token after it."""
    colon = at < len(tokens) and tokens[at].kind == "colon"
    at += colon
    if at >= len(tokens):
        raise SyntaxFault(line, f"field {name!r} has no value")
    kind = tokens[at].kind
    if kind == "open":
        _open(name, line, stack)
        return at + 1
    if kind == "list":
        return _list(tokens, at + 1, name, line, stack)
    if not colon and not (kind in ("string", "word") and tokens[at].line == line):
        raise SyntaxFault(line, f"expected ':' or '{{' after {name!r}")
    value, at = _scalar(tokens, at, name, line)
    stack[-1].fields.append(Field(name, line, value))
    return at


def _open(name: str, line: int, stack: list[Block]) -> None:
    if len(stack) > MAX_DEPTH:
        raise SyntaxFault(line, f"blocks are nested more than {MAX_DEPTH} deep")
    block = Block(line)
    stack[-1].fields.append(Field(name, line, block))
    stack.append(block)


def _list(tokens: Sequence[_Token], at: int, name: str, line: int, stack: list[Block]) -> int:
    """Add the scalars of a list, each as a field; return the index of the token after it."""
    while at < len(tokens) and tokens[at].kind != "unlist":
        if tokens[at].kind == "end":
            at += 1
        else:
            value, at = _scalar(tokens, at, name, tokens[at].line)
            stack[-1].fields.append(Field(name, line, value))
    if at >= len(tokens):
        raise SyntaxFault(line, f"the list of {name!r} is never closed: expected ']'")
    return at + 1


def _scalar(tokens: Sequence[_Token], at: int, name: str, line: int) -> tuple[Scalar, int]:
    kind, word, _ = tokens[at]
    if kind == "string":
        parts = []
        while at < len(tokens) and tokens[at].kind == "string":
            parts.append(tokens[at].text[1:-1])
            at += 1
        return Scalar("".join(parts), True), at
    if kind not in ("word", "placeholder"):
        raise SyntaxFault(line, f"field {name!r} has no value: got {word}")
    if word == "-" and at + 1 < len(tokens) and tokens[at + 1].kind == "word":
        return Scalar(f"-{tokens[at + 1].text}", False), at + 2
    return Scalar(word, False), at + 1

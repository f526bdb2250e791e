"""Read a prototxt of any generation: ``path -> NetParameter`` in today's form (V2)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from deepvis_caffe.errors import ModelError, did_you_mean
from deepvis_caffe.model.fork_types import is_understood
from deepvis_caffe.model.schema_pb2 import ConvolutionParameter, NetParameter, V1LayerParameter
from deepvis_caffe.model.sniff import sniff
from deepvis_caffe.model.upgrade import upgrade

log = logging.getLogger(__name__)


def read_prototxt(source: str | Path) -> NetParameter:
    """Read a net's description and bring it to V2 form.

    Parameters
    ----------
    source
        Path of a prototxt, of generation V0, V1 or V2; deploy or train_val.

    Returns
    -------
    NetParameter
        With ``layer`` fields only, and ``Input`` layers in place of ``input:`` fields. Both phases
        and all losses are still in it; see `deepvis_caffe.model.deploy.deploy`.

    Raises
    ------
    ModelError
        The file cannot be read, is not a prototxt, or mixes generations.
    """
    try:
        return upgrade(parse_prototxt(source))
    except ModelError as error:
        if str(source) in str(error):
            raise
        raise ModelError(f"{source}: {error}") from None


def parse_prototxt(source: str | Path) -> NetParameter:
    """Read a prototxt as it is written, in any generation.

    Fields that the schema does not know (parameters of custom layers) are skipped. A warning names
    them, and those of Caffe's forks that are read but have no effect.
    """
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read the prototxt {path}: {error.strerror}") from error
    found = sniff(data[:4096])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # comments in other encodings; names are ASCII
    if found is None or "\0" in text:
        raise ModelError(
            f"{path} is a binary file, not a prototxt; was the caffemodel given in its place?"
        )
    text, engines = without_foreign_engines(text)
    if engines:
        _warn_once(f"{path}: these engines of Caffe's forks are ignored: {', '.join(engines)}")
    net = NetParameter()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ModelError(_explain(path, text, error, found)) from error
    if not (net.layer or net.layers):
        raise ModelError(f"{path} describes no layers: it is {found}")
    skipped = sorted(set(_fields_but(text, is_understood)))
    if skipped:
        names = ", ".join(f"{name} (line {line})" for line, name in skipped[:10])
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        _warn_once(f"{path}: fields that are not stock Caffe's are ignored: {names}{more}")
    return net


def without_foreign_engines(text: str) -> tuple[str, list[str]]:
    """Remove engines that stock Caffe does not have, such as ``engine: MKL2017``.

    The parser fails on enum values that it does not know. An engine says who computes a layer, not
    what it computes.

    Returns
    -------
    str
        The prototxt without them; its line numbers are unchanged.
    list of str
        The engines that were removed, each once.
    """
    found: dict[str, None] = {}

    def drop(match: re.Match[str]) -> str:
        name = (match["engine"] or "").strip("\"'")
        if not name or name in _STOCK_ENGINES:
            return match.group()
        found[name] = None
        return "\n" * match.group().count("\n")

    return _ENGINE.sub(drop, text), list(found)


_STOCK_ENGINES = ConvolutionParameter.Engine.keys()
_ENGINE = re.compile(  # comments and strings match as a whole, so nothing inside them is an engine
    r"#[^\n]*|(?<![\w.])engine\s*:\s*(?P<engine>[A-Za-z_]\w*|\"[^\"\n]*\"|'[^'\n]*')[ \t]*[,;]?"
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
)


@cache
def _warn_once(message: str) -> None:
    """Log a warning only once for a file that is read several times."""
    log.warning("%s", message)


def foreign_words(source: str | Path) -> str:
    """The words of a prototxt, without comments and layout, if it has fields that the schema lacks.

    Its messages have no such fields, so two nets that differ only in them would look alike.
    """
    text = Path(source).read_bytes().decode("utf-8-sig", errors="replace")
    return " ".join(word for _, word in _tokens(text)) if any(_fields_but(text)) else ""


def _explain(path: Path, text: str, error: text_format.ParseError, found: str) -> str:
    line = error.GetLine()
    what = re.sub(r"^\d+(:\d+)?\s*:\s*", "", str(error)).replace('"deepvis_caffe.', '"')
    where = f"{path}, line {line}" if line else str(path)
    if found not in ("a prototxt (text)", "a text file"):
        return f"{where}: cannot read this prototxt: it is {found}"
    unknown = re.search(r'V1LayerParameter\.LayerType" has no value named (\w+)', what)
    if unknown:
        kind = unknown.group(1)
        known = did_you_mean(kind, V1LayerParameter.LayerType.keys(), most=50)
        return (
            f"{where}: layer {_enclosing_layer(text, line or 1)!r}: {kind} is not a layer type of "
            'the old `layers { type: NAME }` form; write it as `layer { type: "Name" }`'
            f"{known}"
        )
    shown = text.splitlines()[line - 1].strip() if line else ""
    return f"{where}: cannot read this prototxt: {what}" + (f"\n    {shown}" if shown else "")


def _enclosing_layer(text: str, line: int) -> str:
    """The name of the layer that a line belongs to, as far as the text's layout tells."""
    starts = [m.start() for m in re.finditer(r"^\s*layers?\s*\{", text, re.MULTILINE)]
    position = sum(len(row) for row in text.splitlines(keepends=True)[:line])
    begin = max((start for start in starts if start < position), default=0)
    end = min((start for start in starts if start >= position), default=len(text))
    name = re.search(r"\bname\s*:\s*[\"']([^\"']*)", text[begin:end])
    return name.group(1) if name else "?"


def _fields_but(
    text: str, known: Callable[[FieldDescriptor], bool] = lambda field: True
) -> Iterator[tuple[int, str]]:
    """The line and name of each field, but of those that the schema has and that are `known`.

    Of a field that is listed, those inside it are not.
    """
    stack: list[Descriptor | None] = [NetParameter.DESCRIPTOR]
    pending: Descriptor | None = None
    value = False  # the next token is a scalar field's value
    for line, token in _tokens(text):
        if token in "{<":
            stack.append(pending)
            value = False
        elif token in "}>":
            stack.pop()
        elif token == ":":
            value = True
        elif value:
            value = False  # a list is one token
        elif token[0].isalpha() or token[0] == "_":
            here = stack[-1]
            field = here.fields_by_name.get(token) if here else None
            if field and not known(field):
                field = None
            pending = field.message_type if field else None
            if here and not field:
                yield line, token


_TOKEN = re.compile(r"#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|\[[^\]]*\]|[\w.+-]+|\S|\n")


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    line = 1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if not token.startswith("#") and token not in "\n,;":
            yield line, token
        line += token.count("\n")

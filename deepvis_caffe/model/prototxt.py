"""Read a prototxt of any generation and fork: ``path -> Prototxt``.

Anything with one reasonable meaning is accepted, with a note: types with or without quotes in
either form, ``layer`` and ``layers`` mixed, engines of forks. An invalid value inside a layer is
recorded as that layer's fault, so that the rest of the net can still be used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import text_encoding, text_format
from google.protobuf.message import Message

from deepvis_caffe.errors import ModelError, boundary, did_you_mean, shortened
from deepvis_caffe.files import decode_text, read_file
from deepvis_caffe.limits import PROTOTXT
from deepvis_caffe.model.schema_pb2 import LayerParameter, NetParameter, V1LayerParameter
from deepvis_caffe.model.sniff import sniff
from deepvis_caffe.model.syntax import Block, Field, Scalar, SyntaxFault, parse
from deepvis_caffe.model.upgrade import Generation, modern_type, upgrade, upgrade_v1_layer

log = logging.getLogger(__name__)

LONGEST_SHOWN = 200  # characters of a line with a mistake
LONGEST_FAULT = 1000  # characters of the error's description

# Fields that only affect training or choose an implementation: they change no visible value.
HARMLESS = re.compile(
    r"(^|\.)("
    r"(\w*_)?filler|engine|param|blobs_lr|weight_decay|(lr|decay)_mult|loss_weight|propagate_down|"
    r"debug\w*|quantize|include|exclude|loss_param|(\w*_)?momentum|momentum_\w+|"
    r"moving_average_fraction|(\w+_)?data_param|transform_param|cudnn\w*|force_backward|"
    r"is_global|need_backward|visualize_param|save_output_param|forward_type|backward_type|"
    r"forward_math|backward_math|learning_rate\w*"
    r")(\.|$)"
)


@dataclass(frozen=True)
class ForeignField:
    """A field that the schema does not have, in a layer.

    Attributes
    ----------
    line
        The line, from 1.
    path
        Dotted names from the layer's block down: ``"convolution_param.shiny"``.
    """

    line: int
    path: str

    @property
    def harmless(self) -> bool:
        """Whether it changes no visible value."""
        return bool(HARMLESS.search(self.path))


@dataclass(frozen=True)
class Prototxt:
    """A net's description as written.

    Attributes
    ----------
    net
        In the file's own generation, or V2 if the file mixes them; both phases, including losses.
    generation
        The generation of the file's format.
    notes
        One sentence for each deviation from Caffe's reading.
    unreadable
        The layers with invalid values, by name, and what is wrong with the first value.
    foreign
        The layers with fields that the schema does not have, by name.
    words
        The file without comments and whitespace.
    """

    net: NetParameter
    generation: Generation
    notes: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, tuple[ForeignField, ...]] = field(default_factory=dict)
    words: str = field(default="", repr=False)


def read_prototxt(source: str | Path) -> NetParameter:
    """Read a net's description and convert it to V2 form.

    Parameters
    ----------
    source
        Path of a prototxt, of generation V0, V1 or V2; deploy or train_val.

    Returns
    -------
    NetParameter
        With ``layer`` fields only, and ``Input`` layers in place of ``input:`` fields. It still has
        both phases and all losses; see `deepvis_caffe.model.deploy.deploy`.

    Raises
    ------
    ModelError
        The file cannot be read, is not a prototxt, or mixes V0 and V1.
    """
    net = parse_prototxt(source).net
    try:
        return upgrade(net)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def parse_prototxt(source: str | Path) -> Prototxt:
    """Read a prototxt of any generation as written.

    Raises
    ------
    ModelError
        The file cannot be read, is not a prototxt, or has invalid values outside its layers. The
        message names the line.
    """
    path = Path(source)
    root, text, found = _tree(path)
    with boundary(ModelError, f"cannot read the prototxt {path}"):
        try:
            read = _read(root, path)
        except SyntaxFault as error:
            raise ModelError(_explain(path, text, error, found)) from error
    if not (read.net.layer or read.net.layers):
        raise ModelError(f"{path} describes no layers: it is {found}")
    return read


def _tree(path: Path) -> tuple[Block, str, str]:
    """The tree of a prototxt, its text, and the file's type according to `sniff`.

    Raises
    ------
    ModelError
        The file cannot be read, or is not in protobuf's text format.
    """
    with boundary(ModelError, f"cannot read the prototxt {path}"):
        data = read_file(path, PROTOTXT)
    text = decode_text(data)
    found = sniff(text[:4096].encode())
    if found is None or "\0" in text:
        what = sniff(data[:4096])
        raise ModelError(
            f"{path} is a binary file, not a prototxt"
            + (f": it is {what}" if what else "; was the caffemodel given in its place?")
        )
    try:
        return parse(text), text, found
    except SyntaxFault as error:
        raise ModelError(_explain(path, text, error, found)) from error


@cache
def warn_once(path: Path | None, note: str) -> None:
    """Log a warning about a file only once, however often it is read."""
    log.warning("%s", f"{path}: {note}" if path else note)


def layer_blocks(source: Path) -> list[Block]:
    """The ``layer`` blocks of a prototxt as written.

    Raises
    ------
    ModelError
        The file cannot be read, or is not in protobuf's text format.
    """
    root, _, _ = _tree(source)
    return [
        one.value for one in root.fields if one.name == "layer" and isinstance(one.value, Block)
    ]


def fill_message(message: Message, block: Block) -> None:
    """Set the fields of a message of any schema from a block, skipping what does not fit."""
    _Fields().fill(message, block, "")


def _explain(path: Path, text: str, error: SyntaxFault, found: str) -> str:
    if found not in ("a prototxt (text)", "a text file"):
        return f"{path}, line {error.line}: cannot read this prototxt: it is {found}"
    what = shortened(str(error), LONGEST_FAULT)
    shown = shortened(text.split("\n")[error.line - 1].strip(), LONGEST_SHOWN)
    return f"{path}, line {error.line}: cannot read this prototxt: {what}\n    {shown}"


# -- a tree to messages ----------------------------------------------------------------------------


def _read(root: Block, path: Path) -> Prototxt:
    fields = _Fields()
    net = NetParameter()
    plain = Block(root.line, [one for one in root.fields if one.name not in ("layer", "layers")])
    fields.fill(net, plain, "")
    if fields.faults:
        line, what = fields.faults[0]
        raise SyntaxFault(line, what)
    layers = [one for one in root.fields if one.name in ("layer", "layers")]
    kinds = {one.name: 0 for one in layers}
    for one in layers:
        kinds[one.name] += 1
    notes: list[str] = []
    mixed = len(kinds) > 1
    if mixed:
        notes.append(
            f"mixes {kinds['layer']} `layer` with {kinds['layers']} `layers` fields, which Caffe "
            "refuses; they are read in the order of the file. Write all of them as `layer { type: "
            '"Name" }`'
        )
    nested = [_is_v0(one) for one in layers if one.name == "layers"]
    if mixed and any(nested):
        raise ModelError(
            f"{path}: the net mixes `layer` with `layers {{ layer {{ ... }} }}`, the oldest form; "
            "write all of them in one form"
        )
    unreadable: dict[str, str] = {}
    foreign: dict[str, tuple[ForeignField, ...]] = {}
    converted = mixed or any(
        one.name == "layers" and not _is_v0(one) and not _has_v1_type(one) for one in layers
    )
    for one in layers:
        if not isinstance(one.value, Block):
            raise SyntaxFault(one.line, f"`{one.name}` takes a block {{ ... }}, not {one.value}")
        within = _Fields()
        name = one.value.text("name")
        if one.name == "layer":
            _v2_layer(net.layer.add(), one.value, within, notes)
        elif converted and not _is_v0(one):
            net.layer.append(_v1_layer(one.value, within, notes))
        else:
            within.fill(net.layers.add(), one.value, "")
        if within.faults:
            line, what = within.faults[0]
            unreadable[name] = f"line {line}: {what}"
        if within.foreign:
            foreign[name] = tuple(within.foreign)
        notes += [f"layer {name!r}: {note}" for note in within.notes]
    generation: Generation = "V2" if "layer" in kinds else "V0" if any(nested) else "V1"
    words = " ".join(root.words())
    return Prototxt(net, generation, tuple(dict.fromkeys(notes)), unreadable, foreign, words)


def _is_v0(one: Field) -> bool:
    return isinstance(one.value, Block) and one.value.get("layer") is not None


def _has_v1_type(one: Field) -> bool:
    found = one.value.get("type") if isinstance(one.value, Block) else None
    if found is None or not isinstance(found.value, Scalar) or found.value.quoted:
        return found is None
    known = V1LayerParameter.LayerType
    return found.value.text in known.keys() or (  # noqa: SIM118 (an enum, not a dict)
        found.value.text.isdigit() and int(found.value.text) in known.values()
    )


def _v2_layer(layer: LayerParameter, block: Block, fields: _Fields, notes: list[str]) -> None:
    fields.fill(layer, block, "")
    written = block.get("type")
    if written and isinstance(written.value, Scalar) and not written.value.quoted:
        layer.type = modern_type(written.value.text)
        notes.append(
            f"line {written.line}: `layer {{ type: {written.value.text} }}` is read as type: "
            f'"{layer.type}"; write that instead'
        )


def _v1_layer(block: Block, fields: _Fields, notes: list[str]) -> LayerParameter:
    """A ``layers`` block of any type in V2 form."""
    rest = Block(block.line, [one for one in block.fields if one.name != "type"])
    old = V1LayerParameter()
    fields.fill(old, rest, "")
    written = block.get("type")
    kind = ""
    if written and isinstance(written.value, Scalar):
        kind = modern_type(written.value.text, (one.name for one in block.fields))
        if written.value.quoted:
            notes.append(
                f'line {written.line}: `layers {{ type: "{written.value.text}" }}` mixes two '
                f'forms; write it as `layer {{ type: "{kind}" }}`'
            )
    return upgrade_v1_layer(old, kind)


class _Fields:
    """Fills messages from blocks, and records what does not fit."""

    def __init__(self) -> None:
        self.faults: list[tuple[int, str]] = []
        self.foreign: list[ForeignField] = []
        self.notes: list[str] = []

    def fill(self, message: Message, block: Block, path: str) -> None:
        """Set the fields of a message; if a field occurs twice, the last one counts."""
        known = message.DESCRIPTOR.fields_by_name
        for name, line, value in block.fields:
            inside = f"{path}.{name}" if path else name
            descriptor = known.get(name)
            if descriptor is None:
                self.foreign.append(ForeignField(line, inside))
            elif descriptor.message_type is not None:
                self._fill_block(message, descriptor, line, value, inside)
            elif isinstance(value, Block):
                self._fault(line, inside, "takes a value, got a block { ... }")
            else:
                self._set(message, descriptor, line, value, inside)

    def _fill_block(
        self,
        message: Message,
        descriptor: Any,  # the library has two classes for it
        line: int,
        value: Scalar | Block,
        path: str,
    ) -> None:
        if not isinstance(value, Block):
            self._fault(line, path, f"takes a block {{ ... }}, got {value}")
            return
        held = getattr(message, descriptor.name)
        if descriptor.is_repeated:
            held = held.add()
        else:
            held.SetInParent()
        self.fill(held, value, path)

    def _set(
        self,
        message: Message,
        descriptor: Any,  # the library has two classes for it
        line: int,
        written: Scalar,
        path: str,
    ) -> None:
        try:
            value = _value(descriptor, written)
        except ValueError as error:
            self._fault(line, path, str(error))
            return
        if descriptor.is_repeated:
            try:
                getattr(message, descriptor.name).append(value)
            except ValueError as error:  # out of the type's range
                self._fault(line, path, str(error))
            return
        differs = message.HasField(descriptor.name) and getattr(message, descriptor.name) != value
        if differs and not HARMLESS.search(path):
            self.notes.append(f"{path} is given twice; the last value, {written}, is used")
        try:
            setattr(message, descriptor.name, value)
        except ValueError as error:  # out of the type's range
            self._fault(line, path, str(error))

    def _fault(self, line: int, path: str, what: str) -> None:
        if not HARMLESS.search(path):
            self.faults.append((line, shortened(f"{path}: {what}", LONGEST_FAULT)))


def _value(descriptor: Any, written: Scalar) -> Any:
    """A scalar as the type of its field; raises `ValueError` with the reason."""
    kind, text = descriptor.type, written.text
    if re.fullmatch(r"\$[{(].*[})]|\{\{.*\}\}|%\(.*\)\w", text) and kind != descriptor.TYPE_STRING:
        raise ValueError(f"the template placeholder {text} is not filled in")
    if kind == descriptor.TYPE_STRING:
        try:
            return (
                text_encoding.CUnescape(text).decode("utf-8", "replace") if written.quoted else text
            )
        except ValueError:  # backslashes that are not escapes, as in a Windows path
            return text
    if kind == descriptor.TYPE_ENUM:
        values = descriptor.enum_type.values_by_name
        if text in values:
            return values[text].number
        if text.isdigit() and int(text) in descriptor.enum_type.values_by_number:
            return int(text)
        near = next((name for name in values if name.lower() == text.lower()), None)
        if near:
            return values[near].number
        raise ValueError(f"{text!r} is unknown{did_you_mean(text, values)}")
    try:
        if kind == descriptor.TYPE_BOOL:
            return text_format.ParseBool(text.lower())
        if kind in (descriptor.TYPE_FLOAT, descriptor.TYPE_DOUBLE):
            return text_format.ParseFloat(text)
        return _integer(text)
    except (ValueError, OverflowError):
        what = {descriptor.TYPE_BOOL: "true or false"}.get(
            kind,
            "a number"
            if kind in (descriptor.TYPE_FLOAT, descriptor.TYPE_DOUBLE)
            else "a whole number",
        )
        raise ValueError(f"expected {what}, got {written}") from None


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        number = float(text.rstrip("fF"))
        if number != int(number):
            raise
        return int(number)  # 3.0

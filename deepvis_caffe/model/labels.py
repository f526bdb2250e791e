"""Names of a classifier's units: ``file -> (name of unit 0, name of unit 1, ...)``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.files import decode_text, is_text, read_file, text_lines
from deepvis_caffe.limits import LABELS
from deepvis_caffe.model.graph import Layer, Value

Labels = tuple[str, ...]

# Layers whose unit k means the same as unit k of their bottom, whatever they do to its values.
KEEPS_UNITS = frozenset(
    (
        *("AbsVal", "BNLL", "BatchNorm", "Bias", "ChannelScale", "Clip", "Crop", "CropCenter"),
        *("Dropout", "ELU", "Eltwise", "Exp", "Flatten", "HardSigmoid", "HardSwish", "Interp"),
        *("L2Normalize", "Log", "Mish", "NdPooling", "NormalizationL2", "Normalize", "PReLU"),
        *("Pooling", "Pooling3D", "Power", "ReLU", "ReLU6", "Resample", "Reshape", "Scale"),
        *("Sigmoid", "Silence", "Softmax", "Split", "Swish", "TanH", "Threshold", "Upsample"),
    )
)
CHOOSES_UNITS = "ArgMax"  # its values are indices of its bottom's units

# WordNet ids before the name in many ImageNet label files: "n01440764 tench, Tinca tinca".
SYNSET = re.compile(r"^n\d{8}\s+")


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read a label file: one name per line, in the net's order, in any usual encoding.

    An empty line is a class without a name, except at the end of the file.

    Raises
    ------
    SettingsError
        The file is missing, empty, or not text.
    """
    try:
        data = read_file(path, LABELS)
    except OSError as error:
        raise SettingsError(
            f"cannot read the labels {path}: {error.strerror}; set `labels` to a text file with "
            "one name per line, or to None"
        ) from error
    text = decode_text(data)
    if not is_text(text):
        raise SettingsError(
            f"the labels {path} are not text; set `labels` to a text file with one name per line"
        )
    names = tuple(SYNSET.sub("", line.strip()) for line in text_lines(text.rstrip()))
    if not any(names):
        raise SettingsError(f"the labels {path} hold no names")
    return names


def as_labels(labels: str | os.PathLike[str] | Sequence[str] | None) -> Labels:
    """Labels from the path of a label file, the names themselves, or None.

    Raises
    ------
    SettingsError
        The file is missing, empty, or not text; or a name is not text.
    """
    if labels is None:
        return ()
    if isinstance(labels, (str, os.PathLike)):
        return read_labels(labels)
    names = tuple(labels)
    for name in names:
        if not isinstance(name, str):
            raise SettingsError(f"labels must be a file or names, one per unit; got {name!r}")
    return names


def unit_of(labels: Labels, label: str, layer: str) -> int:
    """The unit with a label: the full label, or one of its comma-separated synonyms.

    Case is ignored. A label's first synonym takes precedence over other labels' later ones.

    Parameters
    ----------
    labels
        Labels of the units of `layer`.

    Raises
    ------
    UnknownNameError
        No unit has this label.
    SettingsError
        Several have it.
    """
    wanted = label.strip().casefold()
    names = [[name.strip().casefold() for name in (own, *own.split(","))] for own in labels]
    for places in (slice(0, 1), slice(1, 2), slice(2, None)):
        found = [unit for unit, own in enumerate(names) if wanted and wanted in own[places]]
        if len(found) > 1:
            those = ", ".join(f"{unit} ({labels[unit]})" for unit in found)
            raise SettingsError(
                f"{label!r} is the label of several units of {layer!r}: {those}; give the number"
            )
        if found:
            return found[0]
    known = [name.strip() for own in labels for name in own.split(",")]
    raise UnknownNameError("label", label, known, f"the labels of {layer!r}")


def short_label(label: str | None) -> str:
    """A label up to its first comma, where ImageNet's synonyms start; empty for None."""
    return label.split(",")[0].strip() if label else ""


def unit_title(layer: str, unit: int | str, label: str | None) -> str:
    """The title of a unit for display: ``"pool10 unit 281 (tabby)"``."""
    return f"{layer} unit {unit}" + (f" ({short_label(label)})" if label else "")


def class_blob(outputs: Mapping[str, tuple[int, ...]], labels: Labels = ()) -> str | None:
    """The output of a net that holds the class scores.

    Parameters
    ----------
    outputs
        The shape of each output for one image, batch axis first, in the net's order.

    Returns
    -------
    str or None
        Among the outputs with one number per unit: ``prob`` if there is one, because other heads
        may be auxiliary; otherwise the last one with as many units as labels; otherwise the last
        one. None if there are no such outputs.
    """
    vectors = {
        name: shape[1]
        for name, shape in outputs.items()
        if len(shape) > 1 and math.prod(shape) == shape[1]
    }
    labeled = [name for name, count in vectors.items() if count == len(labels)]
    preferred = [*vectors, *labeled, *(["prob"] if "prob" in vectors else [])]
    return preferred[-1] if preferred else None


def top_classes(
    scores: NDArray[np.float32], labels: Labels, most: int = 5
) -> list[tuple[float, str]]:
    """The highest scores and the names of their classes, highest first.

    Parameters
    ----------
    scores
        (1, classes), or with axes of size 1 after them.
    """
    flat = scores.reshape(-1)
    return [
        (float(flat[unit]), label_of(labels, int(unit), flat.size) or f"unit {unit}")
        for unit in (-flat).argsort(kind="stable")[:most]
    ]


def fit_labels(labels: Labels, shapes: Iterable[tuple[int, ...] | None]) -> Labels | None:
    """The labels, if a layer of one of these shapes has as many units, otherwise None.

    If it has as many units as there are nonempty labels, empty ones are left out: the file then has
    blank lines between its names.

    Parameters
    ----------
    shapes
        Shapes, batch axis first, of the layers whose units are classes; see `class_values`.
    """
    counts = {shape[1] for shape in shapes if shape is not None and len(shape) > 1}
    named = tuple(filter(None, labels))
    return next((some for some in (labels, named) if len(some) in counts), None)


def class_values(layers: Iterable[Layer]) -> frozenset[Value]:
    """The values whose units may be the classes: a net's outputs, and what only leads to those.

    From each of them, every path leads to an output through `KEEPS_UNITS` layers only, or ends at
    an ArgMax. In a net that ends in ``conv10, pool10, prob``, these are the three; a layer further
    down that happens to have as many units is not included.

    Parameters
    ----------
    layers
        The net's layers that can run, in order.
    """
    layers = list(layers)
    readers: dict[Value, list[Layer]] = {}
    for layer in layers:
        for bottom in layer.bottoms:
            readers.setdefault(bottom, []).append(layer)
    found: set[Value] = set()
    for layer in reversed(layers):
        for top in layer.tops:
            if all(
                reader.type == CHOOSES_UNITS
                or (reader.type in KEEPS_UNITS and found.issuperset(reader.tops))
                for reader in readers.get(top, ())
            ):
                found.add(top)
    return frozenset(found)


def label_of(labels: Labels, unit: int, count: int) -> str | None:
    """The name of a unit of a class layer with `count` units; None if it has no name.

    It has none if the numbers of labels and units differ: the labels then belong to another net.
    """
    return (labels[unit] or None) if len(labels) == count else None

"""Names of a classifier's units: ``file -> (name of unit 0, name of unit 1, ...)``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import SettingsError

Labels = tuple[str, ...]

# WordNet ids that many ImageNet label files put before the name: "n01440764 tench, Tinca tinca".
SYNSET = re.compile(r"^n\d{8}\s+")


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read a label file: one name per line, in the net's order. Empty lines are skipped.

    Raises
    ------
    SettingsError
        The file is missing, empty, or not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"cannot read the labels {path}: {error.strerror}; set `labels` to a text file with "
            "one name per line, or to None"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the labels {path} are not UTF-8 text: {error.reason}") from error
    names = tuple(SYNSET.sub("", line.strip()) for line in text.splitlines() if line.strip())
    if not names:
        raise SettingsError(f"the labels {path} hold no names")
    return names


def short_label(label: str | None) -> str:
    """A label up to its first comma, where ImageNet's synonyms begin; empty if there is none."""
    return label.split(",")[0].strip() if label else ""


def class_blob(outputs: Mapping[str, tuple[int, ...]], labels: Labels = ()) -> str | None:
    """Which of a net's outputs holds the class scores.

    Parameters
    ----------
    outputs
        The shape of each output for one image, batch axis first, in the net's order.

    Returns
    -------
    str or None
        Among the outputs with one number per unit: ``prob`` if there is one, since other heads may
        be auxiliary; else the last one with as many units as labels; else the last one. None if
        there are no such outputs.
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


def labels_fit(labels: Labels, shapes: Iterable[tuple[int, ...] | None]) -> bool:
    """Whether a layer of one of these shapes, batch axis first, has as many units as labels."""
    return any(shape is not None and shape[1:2] == (len(labels),) for shape in shapes)


def label_of(labels: Labels, unit: int, count: int) -> str | None:
    """The name of a unit of a layer with `count` units; None if the labels are not that layer's.

    Labels are taken to belong to every layer that has as many units as there are labels.
    """
    return labels[unit] if len(labels) == count else None

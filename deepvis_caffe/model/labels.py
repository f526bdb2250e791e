"""Names of a classifier's units: ``file -> (name of unit 0, name of unit 1, ...)``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from deepvis_caffe.errors import SettingsError

Labels = tuple[str, ...]

# WordNet ids that many ImageNet label files put before the name: "n01440764 tench, Tinca tinca".
SYNSET = re.compile(r"^n\d{8}\s+")


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Read a label file: one name a line, in the net's order; empty lines are skipped.

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
            "one name a line, or to None"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"the labels {path} are not UTF-8 text: {error.reason}") from error
    names = tuple(SYNSET.sub("", line.strip()) for line in text.splitlines() if line.strip())
    if not names:
        raise SettingsError(f"the labels {path} hold no names")
    return names


def label_of(labels: Labels, unit: int, count: int) -> str | None:
    """The name of a unit of a layer with `count` units; None where the labels are not its own.

    Labels belong to every layer that has as many units as there are labels.
    """
    return labels[unit] if len(labels) == count else None

"""Records beside pictures: ``path -> Record``, JSON that says how a picture was made.

A record is written whole or not at all, after its pictures, so that what has one is finished.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import ImageError
from deepvis_caffe.files import write_text

Record = dict[str, Any]


def write_record(path: Path, record: Record) -> Path:
    """Write JSON whole or not at all; NaN and infinity become null."""
    text = json.dumps(as_json(record), indent=1, allow_nan=False) + "\n"
    try:
        return write_text(path, text)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error


def read_record(path: Path) -> Record | None:
    """A record, or None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def as_json(value: Any) -> Any:
    """`value` as JSON gives it back: lists for tuples, None for NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple | list) else value

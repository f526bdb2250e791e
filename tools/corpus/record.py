"""The result for one file: ``Record``, and a table of records as TSV or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TextIO

STAGES = ("parse", "info", "build", "forward", "backward", "ok")
TRACEBACK = "TRACEBACK"  # begins a reason that is an exception not meant for users

_BETWEEN = " | "  # separates the items of one cell


@dataclass(frozen=True)
class Record:
    """How far a file got.

    Attributes
    ----------
    file
        Its path.
    stage
        Where it stopped, one of `STAGES`; ``"ok"`` if it did not.
    reason
        Why it stopped there, in one line.
    layers, running
        Number of the net's layers in the TEST phase, and of those that run.
    opaque
        ``name (Type)`` of each layer that the engine cannot run.
    warnings
        Log messages and warnings.
    notes
        Other findings: values that are not finite, outputs that no gradient leaves.
    seconds, memory
        Wall-clock time, and peak resident memory in MiB.
    caffe
        ``"equal"``, ``"differs"``, ``"n/a"`` (Caffe lacks a layer, and the others are equal; or it
        cannot run the net), ``"failed"``, ``"aborted"``; empty if Caffe was not used.
    caffe_values
        Number of values compared.
    caffe_error
        The largest ``max |ours - Caffe's| / max |Caffe's|`` of a value; for indices, the fraction
        that differs.
    caffe_reason
        The first value that differs, the layers that Caffe lacks, or how it failed.
    """

    file: str
    stage: str = "parse"
    reason: str = ""
    layers: int | None = None
    running: int | None = None
    opaque: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    memory: float | None = None
    caffe: str = ""
    caffe_values: int | None = None
    caffe_error: float | None = None
    caffe_reason: str = ""


def one_line(text: str) -> str:
    """A text with every run of white space replaced by one space."""
    return " ".join(text.split())


class Table:
    """Records in a file, one per line: TSV, or JSON lines if its name ends in ``.jsonl``.

    Each record is on disk as soon as it is added.

    Parameters
    ----------
    path
        The file; None for none.
    resume
        Whether to keep the file's records; otherwise it is overwritten.

    Attributes
    ----------
    records
        The records in the file, in order.
    """

    def __init__(self, path: Path | None, resume: bool = False) -> None:
        self.records: list[Record] = []
        self._file: TextIO | None = None
        if path is None:
            return
        self._as_json = path.suffix == ".jsonl"
        if resume and path.exists():
            self.records = self._read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8", newline="\n")
        if not self._as_json:
            self._file.write("\t".join(field.name for field in fields(Record)) + "\n")
        for record in self.records:
            self._write(record)

    def add(self, record: Record) -> None:
        """Append a record."""
        self.records.append(record)
        self._write(record)

    def _write(self, record: Record) -> None:
        if self._file is not None:
            row = asdict(record)
            line = json.dumps(row) if self._as_json else "\t".join(map(_cell, row.values()))
            self._file.write(line + "\n")
            self._file.flush()

    def _read(self, path: Path) -> list[Record]:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # without an incomplete one
        if self._as_json:
            return [_record(json.loads(line)) for line in lines]
        names, *rows = (line.split("\t") for line in lines or [""])
        return [_record(dict(zip(names, row, strict=True))) for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return _BETWEEN.join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else one_line(str(value))


def _record(row: Mapping[str, Any]) -> Record:
    """A record from a TSV's cells, or from JSON."""
    made: dict[str, Any] = {}
    for field in fields(Record):
        cell, kind = row[field.name], str(field.type)
        if isinstance(cell, str) and kind.startswith("tuple"):
            cell = [item for item in cell.split(_BETWEEN) if item]
        elif isinstance(cell, str) and kind != "str":
            cell = (float if "float" in kind else int)(cell) if cell else None
        made[field.name] = tuple(cell) if isinstance(cell, list) else cell
    return Record(**made)

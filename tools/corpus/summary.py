"""A summary of many records: ``records -> text``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tools.corpus.record import STAGES, TRACEBACK, Record

VERDICTS = ("equal", "differs", "n/a", "failed", "aborted")


def summary(records: Sequence[Record]) -> str:
    """Counts and percentages, opaque types, and the failures grouped by reason."""
    lines = [f"{len(records)} files"]
    for stage in STAGES[:-1]:
        lines += _share(f"stop at {stage}", [r for r in records if r.stage == stage], records)
    whole = [r for r in records if r.stage == "ok"]
    lines += _share("load and run", whole, records)
    lines += _share("... with opaque layers", [r for r in whole if r.opaque], records)
    lines += _share(TRACEBACK, [r for r in records if r.reason.startswith(TRACEBACK)], records)
    asked = [r for r in records if r.caffe]
    for verdict in VERDICTS:
        lines += _share(f"Caffe: {verdict}", [r for r in asked if r.caffe == verdict], asked)
    types = Counter(one for r in records for one in {_type(layer) for layer in r.opaque})
    if types:
        listed = ", ".join(f"{name} {count}" for name, count in types.most_common())
        lines.append(f"opaque layers, by type and number of files: {listed}")
    lines += _groups("failures", [(r.file, r.stage, r.reason) for r in records if r not in whole])
    unlike = [(r.file, r.caffe, r.caffe_reason) for r in asked if r.caffe not in ("equal", "n/a")]
    return "\n".join(lines + _groups("other than Caffe", unlike))


def kind(reason: str) -> str:
    """The first part of a reason, without names, numbers and lists, which differ between nets."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "_", reason.split("; ")[0])
    text = re.sub(r"\b\d+(\.\d+)?\b", "#", text)
    text = re.sub(r"\(#(, #)*,?\)", "(#)", text)
    text = re.sub(r"(_ \((\w+)\))(, _ \(\2\))+", r"\1", text)
    return text[:160]


def _share(what: str, some: Sequence[Record], records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    share = 100 * len(some) / len(records)
    return [f"  {what:<26} {len(some):5} of {len(records)}  {share:5.1f} %"]


def _type(layer: str) -> str:
    return layer.rsplit(" (", 1)[-1].removesuffix(")")


def _groups(title: str, failures: Iterable[tuple[str, str, str]]) -> list[str]:
    """Failures by stage and kind, most frequent first, each with a reason and up to three files."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for file, stage, reason in failures:
        groups.setdefault((stage, kind(reason)), []).append((file, reason))
    lines = [f"{title}:"] if groups else []
    for (stage, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"  {len(group):4}  {stage}: {group[0][1][:300]}")
        lines += [f"{'':8}{file}" for file, _ in group[:3]]
    return lines

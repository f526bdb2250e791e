"""The report of a run: ``results.jsonl -> RESULTS.md``. Run by `python -m benchmarks.gpu`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

AIM = 20_000  # image-steps per second for SqueezeNet on an H100
Result = dict[str, Any]


def main() -> None:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    print(report([json.loads(line) for line in lines]))


def report(results: Sequence[Result]) -> str:
    """The whole report in Markdown."""
    run = next(iter(named(results, "machine")), {})
    text = ["# On a GPU", ""]
    if run.get("rehearsal"):
        text += ["**rehearsal on a simulated GPU: no figures.** No number here means anything.", ""]
    text += list(_machine(results, run))
    text += ["", "## Parts", "", *table(named(results, "ended"), ("part", "status", "seconds"))]
    text += ["", "## Tests", "", *_tests(results)]
    text += ["", "## Image-steps a second", "", *_rates(results)]
    text += ["", "## Scan and viewer", ""]
    for what in ("scan", "viewer"):
        text += [*table(named(results, what), _columns(named(results, what))), ""]
    text += ["## pycaffe", "", *_pycaffe(results)]
    for failed in (one for one in results if one["what"] in ("failed", "left out", "warning")):
        text += ["", f"- {failed}"]
    for profile in named(results, "profile"):
        title = f"## A profile, {profile['layer']}, batch {profile['batch']}"
        text += ["", title, "", "```text", profile["table"].strip(), "```"]
    return "\n".join(text)


def named(results: Iterable[Result], what: str) -> list[Result]:
    """The results of that name."""
    return [one for one in results if one["what"] == what]


def table(rows: Sequence[Result], columns: Sequence[str]) -> list[str]:
    """Rows in Markdown."""
    if not rows:
        return ["nothing"]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(row.get(column, "")) for column in columns) for row in rows]
    return [f"| {line} |" for line in lines]


def _machine(results: Sequence[Result], run: Result) -> Iterable[str]:
    for device in named(results, "device"):
        yield (
            f"{device['name']}, {device['memory_gib']} GiB, compute capability "
            f"{'.'.join(map(str, device['capability']))}; PyTorch {device['torch']}, CUDA "
            f"{device['cuda']}, cuDNN {device['cudnn']}; Python {run.get('python')}."
        )
    for wheels in named(results, "wheels"):
        yield f"Wheels: {wheels['status']}. {wheels['system']}."


def _tests(results: Sequence[Result]) -> list[str]:
    runs = [one for one in results if "status" in one and one["what"] not in ("ended", "wheels")]
    rows = [{**one, "run": one["what"]} for one in runs]
    columns = ("run", "tests", "failures", "errors", "skipped", "seconds", "status")
    failed = [f"- {one['what']}: {name}" for one in runs for name in one.get("failed", ())]
    return [*table(rows, columns), "", *failed]


def _rates(results: Sequence[Result]) -> list[str]:
    rates = named(results, "rate")
    if not rates:
        return ["nothing"]
    gflop = {one["net"]: one["gflop"] for one in named(results, "flops")}
    rows = [
        {
            **one,
            "TFLOP/s": round(one["image_steps_a_second"] * gflop[one["net"]] / 1000, 1)
            if one["net"] in gflop
            else "",
        }
        for one in rates
    ]
    text = table(rows, [*_columns(rates), "TFLOP/s"])
    text += ["", "The best of each:", ""]
    best = [
        max(
            (one for one in rates if one["net"] == net), key=lambda one: one["image_steps_a_second"]
        )
        for net in dict.fromkeys(one["net"] for one in rates)
    ]
    for one in best:
        text.append(
            f"- {one['net']}: {one['image_steps_a_second']} image-steps a second ({one['way']}, "
            f"batch {one['batch']}); 1000 classes, 9 seeds and 500 steps take "
            f"{one['hours_for_all_classes']} hours. The aim for SqueezeNet is {AIM}."
        )
    for what in ("percentile", "conv + ReLU"):
        timed = named(results, what)
        text += ["", *table(timed, _columns(timed))]
    return text


def _pycaffe(results: Sequence[Result]) -> list[str]:
    timed = named(results, "forward and gradient")
    text = table(timed, _columns(timed))
    for what in ("import and check", "built here", "timing failed", "no wheel for this Python"):
        for one in named(results, what):
            kept = {key: value for key, value in one.items() if key not in ("part", "what")}
            text += ["", f"{what}: {json.dumps(kept)}"]
    return text


def _columns(rows: Sequence[Result]) -> list[str]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return [key for key in keys if key not in ("part", "what", "layer")]


if __name__ == "__main__":
    main()

"""The GPU benchmarks, rehearsed on a simulated GPU: each part runs, and its output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import report
from benchmarks.gpu.__main__ import PARTS, run_for
from benchmarks.gpu.tests import RUNS

ROOT = Path(__file__).resolve().parents[2]


def rehearse(part: str, folder: Path) -> list[dict]:
    """The lines that a part writes in rehearsal."""
    lines, log = folder / "results.jsonl", folder / "log.txt"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "DEEPVIS_GPU_REHEARSAL": "1",
        "DEEPVIS_GPU_RESULTS": str(lines),
        "DEEPVIS_GPU_WHEELS": str(folder / "no wheels"),
    }
    status = run_for([sys.executable, "-m", f"benchmarks.gpu.{part}", "200"], 200, environment, log)
    assert status == "done", log.read_text()
    return [json.loads(line) for line in lines.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.process
def test_steps_are_measured_in_every_way(tmp_path: Path) -> None:
    found = rehearse("steps", tmp_path)
    assert not [one for one in found if one["what"] in ("failed", "left out")]
    rates = report.named(found, "rate")
    ways = {"float32", "tf32", "bfloat16", "float32, graphs"}
    first, second = "squeezenet_v1.1", "bvlc_reference_caffenet"
    measured = {(one["net"], one["way"]) for one in rates}
    assert measured == {(first, way) for way in ways} | {(second, "float32"), (second, "tf32")}
    for one in rates:
        by_hand = 1000 * one["batch"] / one["ms_a_step"]
        assert one["image_steps_a_second"] == pytest.approx(by_hand, rel=0.05)
    (profile,) = report.named(found, "profile")
    assert "aten::" in profile["table"]
    fused = report.named(found, "conv + ReLU")
    assert [one["precision"] for one in fused] == ["float32", "tf32", "bfloat16"]
    assert all("cudnn_convolution_relu" in one["not_run"] for one in fused)


@pytest.mark.slow
@pytest.mark.process
def test_scan_and_viewer_are_measured(tmp_path: Path) -> None:
    found = rehearse("streams", tmp_path)
    assert [one["what"] for one in found] == ["scan", "viewer"]


@pytest.mark.slow
@pytest.mark.process
def test_the_tests_pass(tmp_path: Path) -> None:
    found = rehearse("tests", tmp_path)
    assert [(one["what"], one["status"]) for one in found] == [
        (title, "exit status 0") for title, _ in RUNS
    ]
    assert not any(one["skipped"] for one in found)


@pytest.mark.process
def test_without_a_wheel_pycaffe_says_what_it_would_build(tmp_path: Path) -> None:
    (one,) = rehearse("pycaffe", tmp_path)
    assert "tools/pycaffe/build.py" in one["would"]


@pytest.mark.process
def test_a_part_ends_at_its_limit_with_what_it_started(tmp_path: Path) -> None:
    child = "import subprocess; subprocess.run(['sleep', '600'])"
    status = run_for([sys.executable, "-c", child], 1, dict(os.environ), tmp_path / "log")
    assert status == "stopped at its limit"


def test_the_report_tells_a_rehearsal_from_a_run() -> None:
    run = {"part": "run", "what": "machine", "python": "3.12.3"}
    rate = {"part": "steps", "what": "rate", "net": "n", "way": "tf32", "batch": 32}
    rate |= {"image_steps_a_second": 25000.0, "hours_for_all_classes": 0.05}
    flops = {"part": "steps", "what": "flops", "net": "n", "gflop": 2.0}
    tests = {"part": "tests", "what": "CUDA tests", "status": "exit status 1", "tests": 3}
    tests |= {"failures": 1, "failed": ["test_x: not close"]}
    real = report.report([{**run, "rehearsal": False}, rate, flops, tests])
    assert "rehearsal" not in real
    assert "n: 25000.0 image-steps a second (tf32, batch 32)" in real
    assert "| 50.0 |" in real  # TFLOP/s: 25000 times 2 GFLOP
    assert "- CUDA tests: test_x: not close" in real
    rehearsed = report.report([{**run, "rehearsal": True}, rate])
    assert "rehearsal on a simulated GPU: no figures" in rehearsed


def test_each_part_is_a_module_of_its_own() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks/gpu").glob("*.py")}
    assert set(PARTS) <= modules
    assert sum(PARTS.values()) <= 8 * 60

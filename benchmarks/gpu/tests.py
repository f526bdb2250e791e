"""The CUDA tests, and the contract tests with nets on the GPU; each run's summary and failures.

Run by `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu.common import REHEARSAL, seconds_left, write


def _files(*names: str) -> list[str]:
    return [f"tests/engines/{name}.py" for name in names]


CONTRACT = (
    *("test_contract", "test_several_layers", "test_modes", "test_layer_names", "test_held"),
    *("torch/test_ascent", "torch/test_fusion", "torch/test_changed_weights"),
)
LAYERS = "test_layers_recurrent", "test_detections", "test_rows", "test_opaque"
DEVICE = "simulated" if REHEARSAL else "cuda"


# (title, arguments of pytest); the nets of `load_text` run on the GPU.
RUNS = (
    (
        "CUDA tests",
        [
            *("-m", "cuda", *_files("torch/test_cuda", "torch/test_graphs")),
            *("tests/optimizer/test_waits.py", "tests/test_simulated_cuda.py"),
        ],
    ),
    (
        "contract, torch engine on the GPU",
        ["-k", "torch", *_files(*CONTRACT)],
    ),
    (
        "layers and attribution, torch engine on the GPU",
        [
            *("-m", "not pycaffe", "-k", "not pycaffe"),
            *_files(*LAYERS),
            "tests/attribution/test_methods.py",
        ],
    ),
    (
        "arrays and regularizers on the GPU",
        ["-m", "not (slow or cuda)", "-k", "cuda", *_files("test_arrays"), "tests/optimizer"],
    ),
)
REHEARSED = 1  # files of each run in a rehearsal


def main() -> None:
    for title, arguments in RUNS:
        if REHEARSAL:
            files = [word for word in arguments if word.startswith("tests/")]
            arguments = [word for word in arguments if word not in files[REHEARSED:]]
        run(title, arguments, DEVICE)


def run(title: str, arguments: list[str], device: str, part: str = "tests") -> None:
    """Run pytest once with nets on a device, and write its outcome."""
    left = seconds_left()
    if left < 8:
        write(part, title, status="no time was left")
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", f"--junitxml={report}"]
        command += ["-p", "no:cacheprovider", *arguments]
        try:
            done = subprocess.run(
                command,
                env={**os.environ, "DEEPVIS_TEST_DEVICE": device},
                timeout=left - 3,
                check=False,
            )
            status = f"exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            status = "stopped at its limit"
        if not report.exists():
            write(part, title, status=status)
            return
        suite = ElementTree.parse(report).getroot()[0]
    failures = []
    for case in suite.iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            said = (problem.get("message") or "").splitlines()
            failures.append(f"{case.get('name')}: {said[0][:200] if said else ''}")
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    write(part, title, status=status, failed=failures, seconds=suite.get("time"), **counts)


if __name__ == "__main__":
    main()

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

from benchmarks.gpu.common import DEVICE, REHEARSAL, seconds_left, write


def _files(*names: str) -> list[str]:
    return [f"tests/engines/test_{name}.py" for name in names]


# Files whose nets come from `load_text` and whose arrays are numpy's or the engine's own.
# (title, arguments of pytest, environment)
RUNS = (
    (
        "CUDA tests",
        ["-m", "cuda", "tests/engines/torch/test_cuda.py"],
        {"DEEPVIS_TEST_DEVICE": DEVICE},
    ),
    (
        "contract, torch engine on the GPU",
        ["-k", "torch", *_files("contract", "several_layers", "modes", "layer_names", "held")],
        {"DEEPVIS_TEST_DEVICE": DEVICE},
    ),
    (
        "layers and attribution, torch engine on the GPU",
        [
            *("-m", "not pycaffe", "-k", "not pycaffe"),
            *_files("layers_recurrent", "detections", "rows", "opaque"),
            "tests/attribution/test_methods.py",
        ],
        {"DEEPVIS_TEST_DEVICE": DEVICE},
    ),
)
REHEARSED = 1  # files of each run in a rehearsal


def main() -> None:
    for title, arguments, environment in RUNS:
        if REHEARSAL:
            files = [word for word in arguments if word.startswith("tests/")]
            arguments = [word for word in arguments if word not in files[REHEARSED:]]
        run(title, arguments, environment)


def run(title: str, arguments: list[str], environment: dict[str, str], part: str = "tests") -> None:
    """Run pytest once, and write its outcome."""
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
                command, env={**os.environ, **environment}, timeout=left - 3, check=False
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

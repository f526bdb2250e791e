"""All GPU tests and benchmarks, in one command of at most eight minutes.

    python -m benchmarks.gpu [--minutes 8] [--out benchmarks/gpu/out] [--rehearse]

For a machine with a GPU, Python, PyTorch and numpy, but without a network. Fetch the other packages
beforehand, on another machine, with `python -m benchmarks.gpu.wheels`; they are installed from
there into a separate folder. Then these parts run, each in its own processes and with a time limit;
if one fails, the others still run:

- tests: the CUDA tests, and those of the contract, layers, fusion and regularizers on the GPU
- steps: image-steps per second of an ascent, by precision, batch, CUDA graphs; a profile
- pycaffe: a pycaffe built with CUDA is imported, checked, tested and timed beside the engine
- streams: images per second of a dataset scan, frames per second of the viewer

Results are appended to `results.jsonl`, output goes to `log.txt`; at the end `RESULTS.md` is
written, to the output folder and to `benchmarks/gpu/`. `--rehearse` is for a machine without a GPU:
everything runs once and small on a simulated one (`tests/helpers/simulated_cuda.py`), the viewer
and pycaffe on the CPU, and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The most seconds that each part may take.
PARTS = {"tests": 130, "steps": 150, "pycaffe": 90, "streams": 60}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=8, help="for all parts together")
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--rehearse", action="store_true", help="on a simulated GPU")
    parser.add_argument("--wheels", type=Path, default=HERE / "wheels")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, in this order")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes - 5
    options.out.mkdir(parents=True, exist_ok=True)
    lines, log = options.out / "results.jsonl", options.out / "log.txt"
    lines.write_text("")
    log.write_text("")
    with tempfile.TemporaryDirectory() as site:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([site, str(ROOT), str(ROOT / "tests")]),
            "PYTHONUNBUFFERED": "1",
            "DEEPVIS_GPU_RESULTS": str(lines.resolve()),
            "DEEPVIS_GPU_REHEARSAL": str(int(options.rehearse)),
            "DEEPVIS_GPU_WHEELS": str(options.wheels.resolve()),
        }
        version = sys.version.split()[0]
        _write(lines, part="run", what="machine", rehearsal=options.rehearse, python=version)
        _install(options.wheels, Path(site), lines, log)
        for part in options.parts.split(","):
            seconds = min(PARTS[part], end - time.monotonic())
            if seconds < 5:
                _write(lines, part=part, what="left out", why="no time was left")
                continue
            print(f"{part}: at most {seconds:.0f} s", flush=True)
            began = time.monotonic()
            command = [sys.executable, "-m", f"benchmarks.gpu.{part}", f"{seconds - 3:.0f}"]
            status = run_for(command, seconds, environment, log)
            took = round(time.monotonic() - began, 1)
            _write(lines, part=part, what="ended", status=status, seconds=took)
            print(f"{part}: {status}, {took} s", flush=True)
    report = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.report", str(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    text = report.stdout or f"The report failed:\n{report.stderr}\n"
    (options.out / "RESULTS.md").write_text(text, encoding="utf-8")
    if not options.rehearse:
        (HERE / "RESULTS.md").write_text(text, encoding="utf-8")
    print(text)


def run_for(command: list[str], seconds: float, environment: dict[str, str], log: Path) -> str:
    """Run a command with a time limit, also for its children; returns how it ended."""
    with log.open("a", encoding="utf-8") as handle:
        handle.write(f"\n$ {' '.join(command)}\n")
        handle.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=handle,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "stopped at its limit"
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return "done" if code == 0 else f"failed, exit status {code}"


def _install(wheels: Path, site: Path, lines: Path, log: Path) -> None:
    """Install the fetched wheels into a separate folder, without a network."""
    found = [str(one) for one in sorted(wheels.glob("*.whl")) if not one.name.startswith("caffe-")]
    status = "no wheels"
    if found:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-compile", "--no-cache-dir", "--target", str(site), *found]
        status = run_for(command, 60, dict(os.environ), log)
    _write(lines, part="run", what="wheels", status=status, system=platform.platform())


def _write(lines: Path, **result: object) -> None:
    with lines.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()

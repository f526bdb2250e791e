"""Time of a unit's crops and deconv pictures in top images, against an older commit.

    python -m benchmarks.pictures [--against COMMIT] [--images 24] [--size 500x375] [--units 30]

SqueezeNet with random weights, JPEGs as in `benchmarks.dataset`. The other commit is checked out
beside this one; both run in turn, in their own processes, and must write the same bytes. Processor
time is measured with one thread for the net (`--threads`), because waiting threads would count,
too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.dataset import write_photos
from benchmarks.timing import median_ratio

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("fire2/expand3x3", "fire5/expand3x3", "fire9/expand3x3", "pool10")
# What both commits run, each in its own folder; both must have these names.
TIMED = """
import sys, time
from pathlib import Path
from benchmarks.cases import load
from deepvis_caffe.dataset.image_files import read_folder
from deepvis_caffe.dataset.scan import ScanParams, scan_images
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
photos, out, units, layers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
net, source = load("squeezenet_v1.1", "torch")[0], read_folder(photos)
scan = scan_images(net, source, ScanParams(tuple(layers)), threads=2)
scanned = ScannedImages(source, scan, {})
make_top_pictures(Job(net, out / "warm"), scanned, {layers[-1]: [0]})
for layer in layers:
    begun, cpu = time.perf_counter(), time.process_time()
    made = make_top_pictures(Job(net, out), scanned, {layer: range(units)})[layer]
    new = max(1, sum(one.new for one in made))
    print(layer, (time.perf_counter() - begun) / new, (time.process_time() - cpu) / new)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--against", default="HEAD", help="a commit")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--units", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the net")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos, before = folder / "photos", folder / "before"
        write_photos(photos, options.images, height, width)
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(before), options.against], check=True)
        try:
            rounds = [
                compare(folder, before, options.units, options.threads)
                for _ in range(options.rounds)
            ]
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    print(f"{options.images} JPEGs of {options.size}, {options.units} units a layer; a unit takes")
    for layer in LAYERS:
        for number, what in enumerate(("by the clock", "of cores")):
            old, new = (
                [one[layer][number] for one in round_] for round_ in zip(*rounds, strict=True)
            )
            print(
                f"{layer:18s} ms {what:12s}: before {1000 * statistics.median(old):.0f}, now "
                f"{1000 * statistics.median(new):.0f}; {median_ratio(old, new):.1f} times as fast"
            )


Times = dict[str, tuple[float, float]]  # by layer, seconds per unit: wall and processor time


def compare(folder: Path, before: Path, units: int, threads: int) -> tuple[Times, Times]:
    """Times before and now."""
    found: list[Times] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        outs = [Path(name) / "before", Path(name) / "now"]
        for tree, out in zip((before, ROOT), outs, strict=True):
            command = [sys.executable, "-c", TIMED, str(folder / "photos"), str(out), str(units)]
            environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(
                [*command, *LAYERS], cwd=tree, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stderr)
            lines = (line.split() for line in done.stdout.splitlines())
            found.append({layer: (float(wall), float(cpu)) for layer, wall, cpu in lines})
        if contents(outs[0]) != contents(outs[1]):
            raise SystemExit("the pictures differ")
    return found[0], found[1]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


if __name__ == "__main__":
    main()

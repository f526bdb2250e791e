"""The viewer for an hour on a looping video: its memory, and whether its threads stay alive.

    python -m benchmarks.endurance [--minutes 60] [--net squeezenet_v1.1]

A session steps through layers, units, modes, images and sizes, with a key press every tenth of a
second and synthesis on. Every minute it prints the process's memory, the pictures drawn and the
threads. Weights are random.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.cases import load
from deepvis_caffe.optimizer import ascent_params
from deepvis_caffe.viewer.compute.synthesis import SynthesisParams
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.open_source import parse_sources

KEYS = (
    *("o", "down", "right", "b", "right", "d", "u", "a", "o", "s", "m", "t", "z", "b", "g", "T"),
    *("down", "e", "d", "n", "0", "8", "9", "home", "end", "x", "x"),
)
SIZES = ((1280, 800), (900, 650), (1500, 950))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--net", default="squeezenet_v1.1")
    options = parser.parse_args()
    net, _, _ = load(options.net, "torch")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesis = SynthesisParams(ascent_params("best"), seeds=1)
        sources = parse_sources(f"{write_video(folder)},samples")
        session = Session(Parts(net, sources, folder / "results", synthesis))
        session.start()
        try:
            drive(session, options.minutes)
        finally:
            print("every thread ended:", session.close())


def drive(session: Session, minutes: float) -> None:
    keys, sizes = itertools.cycle(KEYS), itertools.cycle(SIZES)
    begun = time.monotonic()
    said, pressed = -1, 0
    while (now := time.monotonic() - begun) < 60 * minutes:
        if now > pressed / 10:
            session.press(next(keys))
            pressed += 1
            if pressed % 200 == 0:
                session.resize(*next(sizes))
                session.press("c")
        session.draw()
        if int(now // 60) > said:
            said = int(now // 60)
            names = sorted(one.name for one in threading.enumerate() if "deepvis" in one.name)
            print(
                f"{said:3} min  {resident():6.0f} MiB  {session.drawn:7} drawn  {', '.join(names)}"
                f"  {session.trouble}",
                flush=True,
            )
        time.sleep(0.008)


def resident() -> float:
    """MiB of resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_video(folder: Path) -> Path:
    """Ten seconds of moving noise, 640x480."""
    path = folder / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    noise = cv2.resize(noise, (640, 480))
    for shift in range(250):
        writer.write(np.roll(noise, 3 * shift, axis=1))
    writer.release()
    return path


if __name__ == "__main__":
    main()

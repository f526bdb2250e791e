"""Images per second of a dataset scan, frames per second of the viewer.

Run by `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.cases import load
from benchmarks.dataset import write_photos
from benchmarks.gpu.common import ELSEWHERE, REHEARSAL, gpu, seconds_left, write
from benchmarks.gpu.nets import images
from benchmarks.viewer import OURS, run
from deepvis_caffe.dataset.image_files import read_folder
from deepvis_caffe.dataset.scan import ScanParams, scan_images

NET = "lenet" if REHEARSAL else "squeezenet_v1.1"
PHOTOS = 4 if REHEARSAL else 384
VIEWED = ("squeezenet_v1.1",) if REHEARSAL else ("squeezenet_v1.1", "bvlc_reference_caffenet")
SECONDS = 1 if REHEARSAL else 6


def main() -> None:
    with gpu():
        scan()
    for name in VIEWED:
        if seconds_left() < SECONDS + 8:
            write("streams", "viewer left out", net=name, why="no time was left")
            continue
        figures = run(name, OURS, SECONDS, ELSEWHERE)
        write(
            "streams",
            "viewer",
            net=name,
            frames_a_second=round(figures.results, 1),
            drawn_a_second=round(figures.drawn, 1),
            stream_frames_a_second=60,
            key_to_screen_ms=round(1000 * statistics.median(figures.answers or [0]), 1),
        )


def scan() -> None:
    """Time a scan of all layers of one net over JPEGs of 500 x 375 pixels, and its parts alone."""
    net, _, _ = load(NET, "torch", "cuda")
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), PHOTOS, 375, 500)
        source = read_folder(Path(folder))
        if not REHEARSAL:
            scan_images(net, source, ScanParams(count=9), range(128), threads=threads)  # warm
        began = time.monotonic()
        scan_images(net, source, ScanParams(count=9), threads=threads)
        took = time.monotonic() - began
    batch = 2 if REHEARSAL else 64
    x, outputs = images(net, batch), net.model.graph.outputs
    times = []
    for _ in range(2 if REHEARSAL else 12):
        began = time.monotonic()
        net.reduce(x, outputs, lambda blob, value: value.sum())
        torch.cuda.synchronize()
        times.append(time.monotonic() - began)
    write(
        "streams",
        "scan",
        net=NET,
        photos=PHOTOS,
        threads=threads,
        images_a_second=round(PHOTOS / took, 1),
        net_alone_images_a_second=round(batch / statistics.median(times), 1),
    )


if __name__ == "__main__":
    main()

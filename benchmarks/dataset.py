"""Images a second: every layer's nine strongest images, against the toolbox's way, in one run.

    python -m benchmarks.dataset [--images 96] [--size 4000x3000] [--long 4000]

Both look through the same JPEGs of a camera's size on SqueezeNet. The toolbox's way: load an image,
send it forward by itself on real pycaffe, and loop over the channels of each layer in Python to
keep the nine largest. (It is given OpenCV to load with, and the fastest way to shrink; pycaffe's
own `caffe.io`, which the toolbox used, is slower, and does not run with today's scikit-image.)
Rounds take turns. Then memory: `--long` images of a small size
by the new way, with the resident memory after each thousand.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import deepvis_caffe as dv
from benchmarks.cases import MEAN, load
from deepvis_caffe.dataset.files import read_folder
from deepvis_caffe.dataset.scan import ScanParams, learned_layers, scan_images
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import resize_image, write_image

NET, COUNT = "squeezenet_v1.1", 9


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    parser.add_argument("--images", type=int, default=48, help="of camera size, a round")
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long", type=int, default=0, help="small images, to watch the memory")
    options = parser.parse_args()
    net, prototxt, weights = load(NET, "torch")
    with tempfile.TemporaryDirectory() as folder:
        width, height = map(int, options.size.split("x"))
        write_photos(Path(folder), options.images, height, width)
        source = read_folder(Path(folder))
        paths = [source.root / name for name in source.names]
        new, old, work = [], [], []
        stock = toolbox_net(prototxt, weights) if importlib.util.find_spec("caffe") else None
        for round_ in range(options.rounds + 1):
            begun, cpu = time.perf_counter(), time.process_time()
            scan_images(net, source, ScanParams(count=COUNT), threads=options.threads)
            middle, cpu_middle = time.perf_counter(), time.process_time()
            few = paths[: max(1, len(paths) // 4)]
            if stock is not None:
                toolbox_way(stock, learned_layers(net), few)
            if round_:
                new.append(len(paths) / (middle - begun))
                old.append(len(few) / (time.perf_counter() - middle))
                cpu_old = (time.process_time() - cpu_middle) / len(few)
                work.append(((cpu_middle - cpu) / len(paths), cpu_old))
            print(
                f"round {round_}: {len(paths) / (middle - begun):.2f} images a second", flush=True
            )
    print(f"{NET}, {options.size} JPEGs, {len(learned_layers(net))} layers, top {COUNT}")
    print(f"ours         {statistics.median(new):7.2f} images a second")
    if stock is not None:
        ratio = statistics.median(a / b for a, b in zip(new, old, strict=True))
        print(
            f"DVT's way    {statistics.median(old):7.2f} images a second; ours / DVT's {ratio:.1f}"
        )
    ours, theirs = (1000 * statistics.median(column) for column in zip(*work, strict=True))
    print(f"of the cores, ms an image: ours {ours:.1f}, DVT's way {theirs:.1f}")
    if options.long:
        watch_memory(net, options.long, options.threads)


def write_photos(folder: Path, count: int, height: int, width: int) -> None:
    """Photographs of that size, each another part of one of scikit-image's."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = dv.sample_image(("astronaut", "chelsea", "coffee", "rocket")[number % 4])
        side = min(photo.shape[:2]) * 2 // 3
        top, left = (int(rng.integers(0, length - side)) for length in photo.shape[:2])
        large = resize_image(photo[top : top + side, left : left + side], height, width)
        noise = rng.integers(0, 12, large.shape, np.uint8)  # a camera's, so that files are as large
        write_image(folder / f"{number:05d}.jpg", np.minimum(large, 243) + noise, quality=90)


def toolbox_net(prototxt: Path, weights: Any) -> Any:
    """A stock ``caffe.Net`` with those weights, batch 1."""
    from benchmarks.dvt_way import force_backward_net

    return force_backward_net(prototxt, weights)


def toolbox_way(net: Any, layers: tuple[str, ...], paths: list[Path]) -> dict[str, list[list]]:
    """The nine strongest of every channel: one image at a time, one channel at a time."""
    import cv2

    _, _, height, width = net.blobs["data"].data.shape
    best: dict[str, list[list]] = {}
    for number, path in enumerate(paths):
        image = cv2.resize(cv2.imread(str(path)).astype(np.float32), (width, height))
        net.blobs["data"].data[...] = (image - np.array(MEAN, np.float32)).transpose(2, 0, 1)
        net.forward()
        for layer in layers:
            blob = net.blobs[layer].data[0]
            tables = best.setdefault(layer, [[] for _ in blob])
            for channel, table in enumerate(tables):
                at = int(blob[channel].argmax())
                value = float(blob[channel].reshape(-1)[at])
                if len(table) < COUNT or value > table[-1][0]:
                    table.append((value, number, at))
                    table.sort(reverse=True)
                    del table[COUNT:]
    return best


def watch_memory(net: Net, count: int, threads: int) -> None:
    """Resident memory after each thousand of `count` images."""
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), 200, 300, 400)
        source = read_folder(Path(folder))
        indices = [index % len(source) for index in range(count)]
        marks: list[str] = []

        def progress(done: int) -> None:
            if done // 1000 > len(marks):
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                marks.append(f"{done:6d} images: {pages * 4096 / 2**20:.0f} MiB")
                print(marks[-1], flush=True)

        scan_images(
            net, source, ScanParams(count=COUNT), indices, threads=threads, progress=progress
        )


if __name__ == "__main__":
    main()

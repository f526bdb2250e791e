"""Images per second: the top nine images of every unit, ours against the toolbox's way.

    python -m benchmarks.dataset [--images 192] [--size 500x375] [--parts] [--long 4000]

All contestants scan the same JPEGs on SqueezeNet with random weights. Of our scan, two parts are
also timed alone: decoding, and the net's passes over decoded images without reading layers. The
passes run both in lanes, as in the scan, and as one batch on all cores. The scan's rate is compared
with the slower part's rate and with ``1 / (1 / decoding + 1 / net)``, the best rate if both parts
share the cores. `--parts` runs this alone.

The toolbox's way: load an image, run it forward alone on real pycaffe, and loop over the channels
of each layer in Python to keep the nine largest. It is timed twice: loading as the toolbox did, as
pycaffe's `caffe.io` does (scikit-image, floats; written out here, because `caffe.io` itself does
not run with today's scikit-image), and with OpenCV instead. Contestants take turns, each in its own
process. Then memory: our scan of `--long` small images, with the resident memory as it goes.
`--rounds 0` runs that alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deepvis_caffe as dv
from benchmarks.cases import MEAN, load
from benchmarks.timing import median_ratio
from deepvis_caffe.dataset.image_files import read_folder
from deepvis_caffe.dataset.loader import load_batch
from deepvis_caffe.dataset.scan import (
    ScanParams,
    learned_layers,
    read_batches,
    scan_batch_size,
    scan_images,
)
from deepvis_caffe.engines.base import Net
from deepvis_caffe.image import resize_image, write_image
from deepvis_caffe.memory import keep_freed_memory

NET, COUNT = "squeezenet_v1.1", 9
_have: dict[str, Any] = {}  # each process's nets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    parser.add_argument("--images", type=int, default=192, help="a round; the toolbox's way a 4th")
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", action="store_true", help="ours and its parts alone")
    parser.add_argument("--long", type=int, default=0, help="small images, to watch the memory")
    parser.add_argument("--long-net", default=NET, help="lenet sees 100,000 in minutes")
    options = parser.parse_args()
    if options.rounds:
        compare(options)
    if options.long:
        watch_memory(load(options.long_net, "torch")[0], options.long, options.threads)


def compare(options: argparse.Namespace) -> None:
    """Run the rounds, and print the table."""
    contestants: dict[str, tuple[Callable[..., Any], int]] = {
        "ours": (ours, options.images),
        "decoding alone": (decoding, options.images),
        "the net alone, lanes": (net_in_lanes, options.images),
        "... one batch": (net_by_batches, options.images),
    }
    if importlib.util.find_spec("caffe") and not options.parts:
        few = max(1, options.images // 4)
        contestants |= {"DVT's way": (toolbox, few), "... with OpenCV": (toolbox_opencv, few)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        width, height = map(int, options.size.split("x"))
        write_photos(Path(folder), options.images, height, width)
        spawn = multiprocessing.get_context("spawn")
        processes = {who: stack.enter_context(ProcessPoolExecutor(1, spawn)) for who in contestants}
        rounds: list[dict[str, tuple[float, float]]] = []
        for number in range(options.rounds + 1):
            rounds.append(
                {
                    who: processes[who].submit(timed, work, folder, count, options.threads).result()
                    for who, (work, count) in contestants.items()
                }
            )
            print(f"round {number}: {rounds[-1]['ours'][0]:.1f} ms an image", flush=True)
    print(f"{NET}, {options.size} JPEGs, {options.threads} threads, all layers' top {COUNT}")
    mine = [round_["ours"][0] for round_ in rounds[1:]]
    for who in contestants:
        wall, cpu = zip(*(round_[who] for round_ in rounds[1:]), strict=True)
        print(
            f"{who:20s}{1000 / statistics.median(wall):7.2f} images a second, "
            f"{statistics.median(cpu):6.1f} ms of a core an image, "
            f"ours is {median_ratio(list(wall), mine):.2f} times as fast"
        )
    for net in ("the net alone, lanes", "... one batch"):
        for kind, clock in enumerate(("by the clock", "by processor time")):
            scan, decode, run = (
                [round_[part][kind] for round_ in rounds[1:]]
                for part in ("ours", "decoding alone", net)
            )
            slower = list(map(max, decode, run))
            both = [a + b for a, b in zip(decode, run, strict=True)]
            print(
                f"beside {net}: {median_ratio(slower, scan):.2f} of the slower part's rate, "
                f"{median_ratio(both, scan):.2f} of the rate of both in turn, {clock}"
            )


def timed(work: Callable[..., Any], folder: str, count: int, threads: int) -> tuple[float, float]:
    """Milliseconds per image: wall time, and processor time of all cores."""
    if not _have:
        if work not in (toolbox, toolbox_opencv):
            keep_freed_memory()  # as a command does
        net, prototxt, weights = load(NET, "torch")
        _have.update(net=net, layers=learned_layers(net))
        if work in (toolbox, toolbox_opencv):
            from benchmarks.dvt_way import force_backward_net

            _have["stock"] = force_backward_net(prototxt, weights)
    paths = sorted(Path(folder).iterdir())[:count]
    begun, cpu = time.perf_counter(), time.process_time()
    work(paths, threads)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return 1000 * wall / count, 1000 * cpu / count


def ours(paths: list[Path], threads: int) -> None:
    """Our scan: all layers in one pass, with every unit's statistics."""
    scan_images(
        _have["net"], read_folder(paths[0].parent), ScanParams(count=COUNT), threads=threads
    )


def decoding(paths: list[Path], threads: int) -> None:
    """Decoding and shrinking alone."""
    source, size = read_folder(paths[0].parent), _batch_size()
    passed = read_batches(
        _have["net"], source, range(len(paths)), size, threads, lambda x, helpers, most: {}
    )
    deque(passed, 0)


def net_in_lanes(paths: list[Path], threads: int) -> None:
    """The net's passes alone, one batch per core; the layers are not read."""
    run, passes = _pass_of(paths), len(paths) // _batch_size()
    with _have["net"].ops.helpers(threads) as lanes:
        deque(lanes.map(run, range(passes)), 0)


def net_by_batches(paths: list[Path], threads: int) -> None:
    """The same passes, each batch on all cores."""
    run, passes = _pass_of(paths), len(paths) // _batch_size()
    torch.set_num_threads(threads)
    deque(map(run, range(passes)), 0)


def _pass_of(paths: list[Path]) -> Callable[[int], object]:
    """A pass over one batch of the first images."""
    net, size = _have["net"], _batch_size()
    if "images" not in _have:
        first = load_batch(read_folder(paths[0].parent), net.preprocessor, range(size))
        _have["images"] = np.stack(first.images)
    blobs = [net.model.graph.activation_name(name) for name in _have["layers"]]
    return lambda _: net.reduce(_have["images"], blobs, lambda name, value: None)


def _batch_size() -> int:
    return scan_batch_size(_have["net"], _have["layers"])


def toolbox(paths: list[Path], threads: int) -> None:
    """One image at a time, loaded as ``caffe.io.load_image`` and ``resize_image`` do."""
    import skimage.io
    import skimage.transform

    def load_image(path: Path, height: int, width: int) -> np.ndarray:
        image = skimage.img_as_float(skimage.io.imread(path)).astype(np.float32)
        small = skimage.transform.resize(
            image, (height, width), order=1, mode="constant", anti_aliasing=False
        )
        return small[:, :, ::-1] * 255

    toolbox_way(_have["stock"], _have["layers"], paths, load_image)


def toolbox_opencv(paths: list[Path], threads: int) -> None:
    """The same, loading with OpenCV and its fastest way to shrink a picture."""
    import cv2

    def load_image(path: Path, height: int, width: int) -> np.ndarray:
        return cv2.resize(cv2.imread(str(path)).astype(np.float32), (width, height))

    toolbox_way(_have["stock"], _have["layers"], paths, load_image)


def write_photos(folder: Path, count: int, height: int, width: int) -> None:
    """Write photographs of a given size, each a different part of one of scikit-image's."""
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = dv.sample_image(("astronaut", "chelsea", "coffee", "rocket")[number % 4])
        side = min(photo.shape[:2]) * 2 // 3
        top, left = (int(rng.integers(0, length - side)) for length in photo.shape[:2])
        large = resize_image(photo[top : top + side, left : left + side], height, width)
        noise = rng.integers(0, 12, large.shape, np.uint8)  # as a camera's, for real file sizes
        write_image(folder / f"{number:05d}.jpg", np.minimum(large, 243) + noise, quality=90)


def toolbox_way(
    net: Any,
    layers: tuple[str, ...],
    paths: list[Path],
    load_image: Callable[[Path, int, int], np.ndarray],
) -> dict[str, list[list]]:
    """The nine highest values of every channel: one image at a time, one channel at a time."""
    _, _, height, width = net.blobs["data"].data.shape
    best: dict[str, list[list]] = {}
    for number, path in enumerate(paths):
        image = load_image(path, height, width)
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
    """Print the resident memory after 1000 images, each doubling of these, and `count`."""
    height, width = (2 * side for side in net.preprocessor.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), 200, height, width)
        source = read_folder(Path(folder))
        indices = [index % len(source) for index in range(count)]
        due = 1000

        def progress(done: int) -> None:
            nonlocal due
            if done >= min(due, count):
                due = 2 * due if done < count else 2 * count
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                print(f"{done:7d} images: {pages * 4096 / 2**20:.0f} MiB", flush=True)

        scan_images(
            net, source, ScanParams(count=COUNT), indices, threads=threads, progress=progress
        )


if __name__ == "__main__":
    main()

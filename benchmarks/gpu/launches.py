"""What a step of an ascent launches and moves: counted on a simulated GPU, without timing.

    PYTHONPATH=.:tests python -m benchmarks.gpu.launches [--net squeezenet_v1.1]

Each operator of PyTorch that computes something on the GPU counts as one launch; some launch more.
The launches of a step's passes are counted apart from the rest: CUDA graphs replay these in one
launch each. An operator is taken to read each of its arguments and to write its result once, in
float32. A GPU cannot make more steps than its memory can move; that caches make small batches
faster, and that weights are read once for a larger batch than this one, is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from helpers.simulated_cuda import SimulatedCuda, simulated_cuda

import deepvis_caffe as dv
from benchmarks.cases import load
from deepvis_caffe.optimizer.result import Snapshot

LAYERS = {
    "squeezenet_v1.1": ("fire5/concat", "pool10"),
    "bvlc_reference_caffenet": ("conv4", "fc8"),
}
PRESETS = (1, 2, 3, 4, "best")
FIRST, LAST = 2, 12  # steps between checks
IMAGES = 8
BANDWIDTH = 3.35e12  # bytes per second, of an H100 SXM5


class Count(NamedTuple):
    """Launches, and bytes moved for one image."""

    launches: float
    moved: float

    @classmethod
    def so_far(cls, cuda: SimulatedCuda) -> Count:
        """Everything since the device was made."""
        return cls(cuda.launches.total(), cuda.traffic / IMAGES)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.launches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--net", choices=LAYERS, default="squeezenet_v1.1")
    name = parser.parse_args().net
    head = "layer", "preset", "forward", "backward", "rest", "MB per image", "most image steps/s"
    rows: list[Sequence[Any]] = [head, ["---"] * len(head)]
    with simulated_cuda() as cuda:
        net, _, _ = load(name, "torch", "cuda")
        for layer in LAYERS[name]:
            passes = of_passes(net, layer, cuda)
            for preset in PRESETS:
                step = of_a_step(net, layer, preset, cuda)
                counts = *passes, round(step.launches - sum(passes))
                moved = f"{step.moved / 1e6:.1f}", f"{BANDWIDTH / step.moved:.0f}"
                rows.append((layer, preset, *counts, *moved))
    for row in rows:
        print("|", " | ".join(map(str, row)), "|")


def of_passes(net: Any, layer: str, cuda: SimulatedCuda) -> tuple[int, int]:
    """Launches of a net's forward and backward pass, once the first ones have filled its caches."""
    x = net.ops.asarray(np.zeros((IMAGES, *net.preprocessor.shape), np.float32))
    for _ in range(2):
        before = cuda.launches.total()
        value = net.evaluate(x, layer)
        between = cuda.launches.total()
        net.input_gradient(value)
    return between - before, cuda.launches.total() - between


def of_a_step(net: Any, layer: str, preset: Any, cuda: SimulatedCuda) -> Count:
    """The mean of some steps of an ascent, without checks."""
    seen: dict[int, Count] = {}

    def watch(snapshot: Snapshot) -> None:
        seen[snapshot.step] = Count.so_far(cuda)

    dv.optimize(
        net,
        layer,
        [1, 2],  # both active from the start
        seeds=IMAGES // 2,
        preset=preset,
        rate="auto",
        iterations=LAST + 1,
        batch_size=IMAGES,
        watch=watch,
    )
    both = zip(seen[LAST], seen[FIRST], strict=True)
    return Count(*((last - first) / (LAST - FIRST) for last, first in both))


if __name__ == "__main__":
    main()

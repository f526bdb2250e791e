"""How many kernels a step of an ascent launches: counted on a simulated GPU, without timing.

    PYTHONPATH=.:tests python -m benchmarks.gpu.launches [--net squeezenet_v1.1]

Each operator of PyTorch that computes something on the GPU counts as one launch; some launch more.
A step's passes are counted apart from the rest: CUDA graphs replay these in one launch each.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from helpers.simulated_cuda import SimulatedCuda, simulated_cuda

import deepvis_caffe as dv
from benchmarks.cases import load

LAYERS = {
    "squeezenet_v1.1": ("fire5/concat", "pool10"),
    "bvlc_reference_caffenet": ("conv4", "fc8"),
}
PRESETS = (1, 2, 3, 4, "best")
FIRST, LAST = 2, 12  # steps between checks


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.launches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--net", choices=LAYERS, default="squeezenet_v1.1")
    name = parser.parse_args().net
    print("| layer | preset | forward | backward | the rest of a step |\n|---|---|---|---|---|")
    with simulated_cuda() as cuda:
        net, _, _ = load(name, "torch", "cuda")
        for layer in LAYERS[name]:
            forward, backward = of_passes(net, layer, cuda)
            for preset in PRESETS:
                rest = of_a_step(net, layer, preset, cuda) - forward - backward
                print(f"| {layer} | {preset} | {forward} | {backward} | {rest:.0f} |")


def of_passes(net: Any, layer: str, cuda: SimulatedCuda) -> tuple[int, int]:
    """Launches of a net's forward and backward pass, once the first ones have filled its caches."""
    x = net.ops.asarray(np.zeros((2, *net.preprocessor.shape), np.float32))
    for _ in range(2):
        before = cuda.launches.total()
        value = net.evaluate(x, layer)
        forward = cuda.launches.total() - before
        net.input_gradient(value)
    return forward, cuda.launches.total() - before - forward


def of_a_step(net: Any, layer: str, preset: Any, cuda: SimulatedCuda) -> float:
    """Mean launches of a step of an ascent, without checks."""
    seen: dict[int, int] = {}
    dv.optimize(
        net,
        layer,
        [1, 2],
        seeds=1,
        preset=preset,
        rate="auto",
        iterations=LAST + 1,
        batch_size=2,
        watch=lambda snapshot: seen.setdefault(snapshot.step, cuda.launches.total()),
    )
    return (seen[LAST] - seen[FIRST]) / (LAST - FIRST)


if __name__ == "__main__":
    main()

"""The cost of reproducible runs: nine images of a unit, reproducible or not, in turn.

    python -m benchmarks.reproducible [--rounds 7] [--engine torch]

Both run on one thread and are measured in processor time, so that other work on the machine matters
little. This measures the cost of running each image alone; ratios are medians over rounds of
reproducible to not. In addition, a single process leaves the other cores idle, unless ``--workers``
uses them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import deepvis_caffe as dv
from benchmarks.cases import active_unit, load
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.computed import one_thread

CASES = (
    ("squeezenet_v1.1", "pool10"),
    ("squeezenet_v1.1", "fire5/expand3x3"),
    ("squeezenet_v1.1", "fire3/expand3x3"),
    ("bvlc_reference_caffenet", "conv4"),
    ("bvlc_reference_caffenet", "fc8"),
)
SEEDS, STEPS = 9, 12


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reproducible", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine", default="torch")
    options = parser.parse_args()
    print(f"{options.engine}, {SEEDS} images; ms per image and step, reproducible, ratio, range")
    nets: dict[str, Net] = {}
    for name, layer in CASES:
        net = nets.setdefault(name, load(name, options.engine)[0])
        plain, alone = times(net, layer, options.rounds)
        ratios = [b / a for a, b in zip(plain, alone, strict=True)]
        plain_ms, alone_ms = (1000 * statistics.median(some) for some in (plain, alone))
        print(
            f"{name:24} {layer:16} {plain_ms:7.2f} {alone_ms:7.2f} "
            f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def times(net: Net, layer: str, rounds: int) -> tuple[list[float], list[float]]:
    """Processor time per image step in each round, without and with; one round warms up."""
    unit, taken = active_unit(net, layer), ([], [])
    for number in range(rounds + 1):
        for reproducible in (False, True):
            with one_thread(net):
                start = time.process_time()
                dv.optimize(
                    net,
                    layer,
                    unit,
                    seeds=range(SEEDS),
                    iterations=STEPS,
                    batch_size=SEEDS,
                    reproducible=reproducible,
                )
                spent = time.process_time() - start
            if number:
                taken[reproducible].append(spent / SEEDS / STEPS)
    return taken


if __name__ == "__main__":
    main()

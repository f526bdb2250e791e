"""What limits each layer of a pass, arithmetic or memory, and how close to the limit it runs.

    python -m benchmarks.roofline [--net resnet50] [--batch 8] [--rounds 9] [--top 12]

For every step of an ascent's forward and backward pass: the arithmetic of its convolutions and
inner products, the bytes that it must at least read and write, and the time it takes. A step takes
at least its arithmetic divided by the machine's arithmetic rate, and at least its bytes divided by
the copy rate; both rates are measured first. The larger time is the step's limit (Williams et al.
2009, "Roofline", https://doi.org/10.1145/1498765.1498785). Caches are faster than memory, so a step
may beat its limit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.cases import load
from benchmarks.engine import LAYERS
from deepvis_caffe.engines.torch.layer import Layer
from deepvis_caffe.engines.torch.net import TorchNet
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.engines.torch.plan import PlanStep, make_plan
from deepvis_caffe.memory import keep_freed_memory
from deepvis_caffe.model.graph import Value

BACK = " (back)"


@dataclass(frozen=True)
class Work:
    """The least work of a step: floating point operations, and bytes read and written."""

    operations: int
    bytes: int


@dataclass(frozen=True)
class Machine:
    """The machine's measured rates: operations and bytes per second."""

    operations: float
    bytes: float

    def limit(self, work: Work) -> float:
        """The least seconds for some work."""
        return max(work.operations / self.operations, work.bytes / self.bytes)

    def limited_by(self, work: Work) -> str:
        """Which of the two rates sets that limit."""
        by_arithmetic = work.operations / self.operations > work.bytes / self.bytes
        return "arithmetic" if by_arithmetic else "memory"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--net", default="squeezenet_v1.1", choices=LAYERS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--top", type=int, default=12, help="how many steps to show")
    options = parser.parse_args()
    keep_freed_memory()  # as a command does
    machine = measure_machine()
    net, _, _ = load(options.net, "torch")
    assert isinstance(net, TorchNet)
    found = timed_steps(net, LAYERS[options.net], options.batch, options.rounds)
    whole = sum(seconds for _, _, seconds in found)
    least = sum(machine.limit(work) for _, work, _ in found)
    table = Table(
        title=f"{options.net}, batch {options.batch}, ms per image; this machine: "
        f"{machine.operations / 1e9:.0f} GFLOP/s, {machine.bytes / 1e9:.0f} GB/s copied",
        title_justify="left",
    )
    for column in ("step", "takes", "of all", "GFLOP", "MB", "limit", "reached", "limited by"):
        table.add_column(column, justify="left" if column in ("step", "limited by") else "right")
    slowest = sorted(found, key=lambda one: one[2], reverse=True)[: options.top]
    everything = Work(*(sum(getattr(w, n) for _, w, _ in found) for n in ("operations", "bytes")))
    for name, work, seconds in [*slowest, ("everything", everything, whole)]:
        limit = least if name == "everything" else machine.limit(work)
        table.add_row(
            name,
            f"{1000 * seconds / options.batch:.2f}",
            f"{seconds / whole:.0%}",
            f"{work.operations / options.batch / 1e9:.2f}",
            f"{work.bytes / options.batch / 1e6:.1f}",
            f"{1000 * limit / options.batch:.2f}",
            f"{limit / seconds:.0%}",
            "" if name == "everything" else machine.limited_by(work),
        )
    Console(width=110).print(table)


def measure_machine() -> Machine:
    """The best rates of some matrix products and of some copies, too large for the caches."""
    a = torch.randn(2048, 2048)
    operations = 2 * 2048**3 / _least(lambda: a @ a)
    long = torch.randn(1 << 26)
    other = torch.empty_like(long)
    return Machine(operations, 2 * 4 * len(long) / _least(lambda: other.copy_(long)))


def _least(call: Callable[[], object], times: int = 12) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def timed_steps(
    net: TorchNet, layer: str, batch: int, rounds: int
) -> list[tuple[str, Work, float]]:
    """Name, work and seconds (median over rounds) of every step, forward and backward."""
    (name, shape), *_ = net.inputs.items()
    start = net.model.graph.gradient_start(layer)
    image = Value(name)
    plan = make_plan(net.module, [start], {image})
    x = net.ops.asarray(np.random.default_rng(0).normal(0, 50, (batch, *shape[1:])))
    x = x.contiguous(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {}
    works: dict[str, Work] = {}
    for number in range(rounds + 1):  # the first warms up
        recorded = []
        run = Pass({image: x})
        for step in plan.steps:
            bottoms = [run.values[value] for value in step.bottoms]
            spent, (tops, saved) = _timed(lambda s=step, b=bottoms: s.run.fwd(*b))
            run.values.update(zip(step.tops, tops, strict=True))
            for value in step.done:
                del run.values[value]
            recorded.append((step, saved))
            works[name_of(step)] = work_of(step, bottoms, tops)
            del bottoms, tops  # in a pass, nothing holds them any longer
            if number:
                seconds.setdefault(name_of(step), []).append(spent)
        diff = torch.zeros_like(run.values[start])
        diff[:, 1] = 1
        diffs: dict[Value, Tensor] = {start: diff}
        while recorded:
            step, saved = recorded.pop()
            dys = [diffs.pop(value, None) for value in step.tops]
            bwd = step.run.bwd if start in step.tops else step.run.last_bwd
            spent, dxs = _timed(lambda b=bwd, v=saved, d=dys: b(v, d, "gradient"))
            for value, dx in zip(step.bottoms, dxs, strict=True):
                if dx is not None:
                    diffs[value] = diffs[value] + dx if value in diffs else dx
            key = name_of(step) + BACK
            works[key] = works[name_of(step)]
            if number:
                seconds.setdefault(key, []).append(spent)
    return [(key, works[key], statistics.median(some)) for key, some in seconds.items()]


def _timed(call: Callable[[], tuple]) -> tuple[float, tuple]:
    with torch.no_grad():
        start = time.perf_counter()
        found = call()
        return time.perf_counter() - start, found


def name_of(step: PlanStep) -> str:
    """The first of the layers that run as one, and how many more there are."""
    more = len(step.layers) - 1
    return step.layers[0].layer.name + (f" + {more}" if more else "")


def work_of(step: PlanStep, bottoms: Sequence[Tensor], tops: Sequence[Tensor]) -> Work:
    """A step's arithmetic, and its bytes if read and written once; backward has as much."""
    weights = [weight for layer in step.layers for weight in _weights(layer)]
    moved = [*bottoms, *tops, *weights]
    return Work(
        operations=2
        * sum(_uses(step.layers[0], tops[0]) * w.numel() for w in weights if w.ndim > 1),
        bytes=sum(4 * tensor.numel() for tensor in moved),
    )


def _weights(layer: Layer) -> list[Tensor]:
    return [one for name in layer.blobs if (one := getattr(layer, name, None)) is not None]


def _uses(layer: Layer, top: Tensor) -> int:
    """How often each weight is used: once for each position of the top, or for each image."""
    return len(top) * (top[0, 0].numel() if layer.layer.type == "Convolution" else 1)


if __name__ == "__main__":
    main()

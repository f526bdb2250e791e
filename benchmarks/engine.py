"""The torch engine beside a plain PyTorch module of the same net, with autograd.

    python -m benchmarks.engine [--rounds 9] [--nets squeezenet_v1.1,resnet50] [--batches 1,8]

Both run in one process, in turn, so that a slow spell of the machine affects both. Times are
medians over rounds, and ratios are medians of each round's ratio: above 1 the engine is faster.
Weights are random. Forward passes take and return numpy arrays; gradients take and return tensors,
as in an ascent.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cases import load
from benchmarks.plain import PlainNet
from benchmarks.timing import median_ratio

# Each net, and the layer whose unit is maximized: one above all but the last layers.
LAYERS = {
    "squeezenet_v1.1": "pool10",
    "bvlc_reference_caffenet": "fc8",
    "bvlc_googlenet": "loss3/classifier",
    "resnet50": "fc1000",
}
# (title of the row, plain case, engine case)
ROWS = (
    ("forward", "plain forward", "Net.forward"),
    ("reduce", "plain forward", "Net.reduce"),
    ("forward + gradient", "plain gradient", "evaluate + input_gradient"),
    ("... of one unit", "plain gradient", "... of one unit"),
)
AT_LEAST = 0.15  # seconds for which a case is repeated in each round


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--nets", default=",".join(LAYERS))
    parser.add_argument("--batches", default="1,8")
    options = parser.parse_args()
    table = Table(title=f"ms per image, {torch.get_num_threads()} threads", title_justify="left")
    for column in ("net", "work", "batch", "plain", "engine", "plain / engine"):
        table.add_column(column, justify="left" if column in ("net", "work") else "right")
    for name in options.nets.split(","):
        for batch in map(int, options.batches.split(",")):
            figures = measure(cases(name, batch), options.rounds)
            for row, plain, engine in ROWS:
                table.add_row(
                    name,
                    row,
                    str(batch),
                    f"{1000 * statistics.median(figures[plain]) / batch:.2f}",
                    f"{1000 * statistics.median(figures[engine]) / batch:.2f}",
                    f"{median_ratio(figures[plain], figures[engine]):.2f}",
                )
    Console(width=100).print(table)


def cases(name: str, batch: int) -> dict[str, Callable[[], object]]:
    """The timed calls for one net and one batch size."""
    net, _, _ = load(name, "torch")
    plain, layer = PlainNet(net.model).eval(), LAYERS[name]
    (shape,) = net.inputs.values()
    images = np.random.default_rng(0).normal(0, 50, (batch, *shape[1:])).astype(np.float32)
    outputs = net.model.graph.outputs
    x = net.ops.asarray(images)
    diff = torch.zeros_like(net.evaluate(x, layer))
    diff[:, 1] = 1

    def plain_forward() -> object:
        with torch.inference_mode():
            return plain(torch.from_numpy(images), outputs[0]).numpy()

    def plain_gradient() -> object:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(plain(leaf, layer), leaf, diff)

    def gradient() -> object:
        net.evaluate(x, layer)
        return net.input_gradient(diff)

    def gradient_of_one() -> object:  # as in an ascent: only the channels of its units
        net.evaluate(x, layer, (1,))
        return net.input_gradient(diff[:, 1:2])

    return {
        "plain forward": plain_forward,
        "Net.forward": lambda: net.forward(images),
        "Net.reduce": lambda: net.reduce(images, outputs, lambda blob, value: value.sum()),
        "plain gradient": plain_gradient,
        "evaluate + input_gradient": gradient,
        "... of one unit": gradient_of_one,
    }


def measure(
    calls: Mapping[str, Callable[[], object]], rounds: int, at_least: float = AT_LEAST
) -> dict[str, list[float]]:
    """Seconds of each call in each round, after a warm-up round; the calls take turns."""
    figures: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {name: max(round(at_least / _seconds(call, 2)), 1) for name, call in calls.items()}
    for number in range(rounds):
        order: Sequence[str] = list(calls) if number % 2 else list(calls)[::-1]
        for name in order:
            figures[name].append(_seconds(calls[name], repeats[name]))
    return figures


def _seconds(call: Callable[[], object], repeats: int) -> float:
    call()  # warm the caches, which hold the previous call's data
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()

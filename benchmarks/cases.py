"""What is timed: forward, gradient and ascent step of each engine, and the toolbox's way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import deepvis_caffe as dv
from benchmarks.dvt_way import ascend, force_backward_net
from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.model import Weights
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.optimizer.start import first_images
from deepvis_caffe.resources import resource

MEAN = (104, 117, 123)
GRAY = ("lenet",)  # nets that have one channel
WORKS = ("forward", "forward + gradient", "ascent step")
BATCHES = (1, 8)
STEPS = 16  # of one timed ascent: four of them blur, as one in four does


@dataclass(frozen=True)
class Case:
    """One thing to time: a call, and how many image-steps one call does."""

    call: Callable[[], object]
    images: int


def load(name: str, engine: str, device: str = "cpu") -> tuple[Net, Path, Weights]:
    """A net of our prototxts with random weights, which do not change the work."""
    prototxt = resource("prototxt", f"{name}.prototxt")
    params = deploy(read_prototxt(prototxt)).net
    graph = Graph.from_layers(params.name, params.layer)
    weights = random_weights(infer(graph), graph, np.random.default_rng(0))
    mean = None if name in GRAY else MEAN
    net = dv.load_net(prototxt, weights, engine=engine, mean=mean, device=device)
    return net, prototxt, weights


def make_cases(name: str, layer: str, who: str) -> dict[str, Case]:
    """The cases of one contestant: ``"torch"``, ``"pycaffe"`` or ``"dvt"``."""
    net, prototxt, weights = load(name, "torch" if who == "torch" else "pycaffe")
    unit = active_unit(net, layer)
    if who == "dvt":
        stock = force_backward_net(prototxt, weights)
        mean = np.array(MEAN, float)[:, None, None]
        return {
            "ascent step/1": Case(lambda: ascend(stock, layer, unit, mean, 0, STEPS), STEPS),
        }
    return {
        f"{work}/{batch}": Case(call, batch * STEPS)
        for batch in BATCHES
        for work, call in zip(WORKS, _calls(net, layer, unit, batch), strict=True)
    }


def active_unit(net: Net, layer: str) -> int:
    """A unit that noise excites: one behind a ReLU that noise leaves dead would end its ascent."""
    value = net.evaluate(net.ops.asarray(first_images("noise", range(8), net.preprocessor)), layer)
    return int(net.ops.numpy(value).reshape(8, value.shape[1], -1).max(axis=2).min(axis=0).argmax())


def _calls(net: Net, layer: str, unit: int, batch: int) -> tuple[Callable[[], object], ...]:
    _, channels, height, width = next(iter(net.inputs.values()))
    host = np.random.default_rng(0).normal(0, 50, (batch, channels, height, width))
    x = net.ops.asarray(host)
    one_hot = np.zeros((batch, *net.shapes[net.model.graph.gradient_start(layer)][1:]), np.float32)
    one_hot[:, unit] = 1
    diff = net.ops.asarray(one_hot)

    def forward() -> None:
        for _ in range(STEPS):
            net.forward(host, ["prob"])

    def gradient() -> None:
        for _ in range(STEPS):
            net.evaluate(x, layer)
            net.input_gradient(diff)

    return (
        forward,
        gradient,
        lambda: dv.optimize(
            net, layer, units=[unit], seeds=range(batch), preset=3, rate="paper", iterations=STEPS
        ),
    )

"""The timed cases: forward, gradient and ascent step of each contestant."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import deepvis_caffe as dv
from benchmarks.dvt_way import ascend, force_backward_net
from benchmarks.plain import PlainNet
from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.caffemodel import write_caffemodel
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.model import Weights
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.optimizer.start import first_images
from deepvis_caffe.resources import resource

MEAN = (104, 117, 123)
GRAY = ("lenet",)  # nets with one input channel
ASCENT = "ascent step"
WORKS = ("forward", "reduce", "forward + gradient", ASCENT)
BATCHES = (1, 8)
STEPS = 16  # of one timed ascent; every fourth one blurs


Calls = dict[str, Callable[[], object]]  # by work


@dataclass(frozen=True)
class Case:
    """One thing to time: a call, how many image-steps it does, and how often it is called.

    A call that is repeated is warmed up once, because packed weights are laid out again after a
    batch of another size.
    """

    call: Callable[[], object]
    images: int
    repeats: int = 1


def load(name: str, engine: str, device: str = "cpu") -> tuple[Net, Path, Weights]:
    """A net of our prototxts with random weights, which make no difference to the time."""
    prototxt = resource("prototxt", f"{name}.prototxt")
    params = deploy(read_prototxt(prototxt)).net
    graph = Graph.from_layers(params.name, params.layer)
    weights = random_weights(infer(graph), graph, np.random.default_rng(0))
    mean = None if name in GRAY else MEAN
    net = dv.load_net(prototxt, weights, engine=engine, mean=mean, device=device)
    return net, prototxt, weights


def make_cases(name: str, layer: str, who: str) -> dict[str, Case]:
    """The cases of one contestant.

    Parameters
    ----------
    name, layer
        A net of our prototxts, and the layer that gradients start from.
    who
        ``"torch"`` or ``"pycaffe"``, our engines; ``"plain"``, a PyTorch module with autograd;
        ``"opencv"``, OpenCV 4's dnn; ``"dvt"``, the toolbox's way.
    """
    net, prototxt, weights = load(name, "torch" if who in ("torch", "plain") else "pycaffe")
    if who == "plain":
        return _each_batch(_plain_calls, net, layer)
    if who == "opencv":
        return _each_batch(_opencv_calls, net, prototxt)
    unit = active_unit(net, layer)
    if who == "dvt":
        stock = force_backward_net(prototxt, weights)
        mean = np.array(MEAN, float)[:, None, None]
        return {
            f"{ASCENT}/1": Case(lambda: ascend(stock, layer, unit, mean, 0, STEPS), STEPS),
        }
    return _each_batch(_calls, net, layer, unit)


def _each_batch(
    calls: Callable[..., dict[str, Callable[[], object]]], *args: Any
) -> dict[str, Case]:
    """The cases of each batch size; a call does one step, or `STEPS` for an ascent."""
    return {
        f"{work}/{batch}": Case(call, batch * STEPS) if work == ASCENT else Case(call, batch, STEPS)
        for batch in BATCHES
        for work, call in calls(*args, batch).items()
    }


def active_unit(net: Net, layer: str) -> int:
    """A unit that noise activates; the ascent of a unit that is off behind a ReLU would end."""
    value = net.evaluate(net.ops.asarray(first_images("noise", range(8), net.preprocessor)), layer)
    return int(net.ops.numpy(value).reshape(8, value.shape[1], -1).max(axis=2).min(axis=0).argmax())


def _images(net: Net, batch: int) -> np.ndarray:
    shape = batch, *next(iter(net.inputs.values()))[1:]
    return np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)


def _plain_calls(net: Net, layer: str, batch: int) -> Calls:
    """What a PyTorch user would write; `reduce` is the forward pass, too."""
    plain, output = PlainNet(net.model).eval(), net.model.graph.outputs[0]
    host = _images(net, batch)
    x = torch.from_numpy(host).contiguous(memory_format=torch.channels_last)
    diff = torch.zeros_like(plain(x, layer))
    diff[:, 1] = 1

    def forward() -> None:
        with torch.inference_mode():
            plain(torch.from_numpy(host), output).numpy()

    def gradient() -> None:
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(plain(leaf, layer), leaf, diff)

    return {"forward": forward, "reduce": forward, "forward + gradient": gradient}


def _opencv_calls(net: Net, prototxt: Path, batch: int) -> Calls:
    """OpenCV's dnn, which has no backward pass."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.caffemodel"
        kinds = {layer.name: layer.type for layer in net.model.graph}
        blobs = {name: (kinds[name], some) for name, some in net.model.weights.items()}
        write_caffemodel(file, "net", blobs)
        theirs = cv2.dnn.readNetFromCaffe(str(prototxt), str(file))
    host = _images(net, batch)

    def forward() -> None:
        theirs.setInput(host)
        theirs.forward()

    return {"forward": forward, "reduce": forward}


def _calls(net: Net, layer: str, unit: int, batch: int) -> Calls:
    host = _images(net, batch)
    x = net.ops.asarray(host)
    one_hot = np.zeros((batch, *net.shapes[net.model.graph.gradient_start(layer)][1:]), np.float32)
    one_hot[:, unit] = 1
    diff = net.ops.asarray(one_hot)

    outputs = net.model.graph.outputs

    def forward() -> None:
        net.forward(host, outputs)

    def reduce() -> None:
        net.reduce(host, outputs, lambda blob, value: value.sum())

    def gradient() -> None:
        net.evaluate(x, layer)
        net.input_gradient(diff)

    def ascent() -> None:
        dv.optimize(
            net, layer, units=[unit], seeds=range(batch), preset=3, rate="paper", iterations=STEPS
        )

    calls = forward, reduce, gradient, ascent
    return dict(zip(WORKS, calls, strict=True))

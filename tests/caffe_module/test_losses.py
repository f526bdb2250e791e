"""Loss layers and Accuracy: values and gradients against real Caffe, or their definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.caffe_pair import Pair, net_of

from deepvis_caffe.errors import EngineError, ModelError

RNG = np.random.RandomState(7)
SCORES = RNG.normal(size=(6, 5))
CLASSES = np.array([0, 4, 2, 2, 1, 3])
MAPS = RNG.normal(size=(2, 4, 3, 2))
PLACES = RNG.randint(0, 4, (2, 3, 2))
A, B = RNG.normal(size=(2, 4, 3))
SIMILAR = np.array([1, 0, 0, 1])
CHANCES = RNG.dirichlet(np.ones(5), 6)
GAINS = RNG.uniform(size=(1, 1, 5, 5))

# name: the layer's type and parameters, and its bottoms
LOSSES: dict[str, tuple[str, list[np.ndarray]]] = {
    "softmax": ('type: "SoftmaxWithLoss"', [SCORES, CLASSES]),
    "softmax of maps": ('type: "SoftmaxWithLoss" loss_weight: 3', [MAPS, PLACES]),
    "softmax, last axis": (
        'type: "SoftmaxWithLoss" softmax_param { axis: -1 }',
        [np.moveaxis(MAPS, 1, -1), PLACES],
    ),
    **{
        f"softmax, {mode}": (
            f'type: "SoftmaxWithLoss" loss_param {{ ignore_label: 2 normalization: {mode} }}',
            [MAPS, PLACES],
        )
        for mode in ("FULL", "VALID", "BATCH_SIZE", "NONE")
    },
    "softmax, not normalized": (
        'type: "SoftmaxWithLoss" loss_param { ignore_label: 255 normalize: false }',
        [MAPS, np.where(PLACES == 1, 255, PLACES)],
    ),
    "softmax, all ignored": (
        'type: "SoftmaxWithLoss" loss_param { ignore_label: 1 }',
        [MAPS, np.ones_like(PLACES)],
    ),
    "logistic": ('type: "MultinomialLogisticLoss"', [CHANCES, CLASSES]),
    "infogain": ('type: "InfogainLoss"', [CHANCES, CLASSES, GAINS]),
    "hinge": ('type: "HingeLoss"', [SCORES, CLASSES]),
    "hinge, squared": (
        'type: "HingeLoss" hinge_loss_param { norm: L2 } loss_weight: -0.5',
        [SCORES, CLASSES],
    ),
    "sigmoid": ('type: "SigmoidCrossEntropyLoss"', [3 * A, RNG.uniform(size=(4, 3))]),
    "euclidean": ('type: "EuclideanLoss" loss_weight: 2', [A, B]),
    "smooth": ('type: "SmoothL1Loss"', [A, B]),
    "contrastive": (
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 2.5 }',
        [A, B, SIMILAR],
    ),
    "contrastive, legacy": (
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 4 legacy_version: true }',
        [A, B, SIMILAR],
    ),
}
BOTH_SIDES = ("euclidean", "smooth", "contrastive", "contrastive, legacy")


def inputs(bottoms: list[np.ndarray]) -> str:
    """Input layers x0, x1, ..."""
    lines = []
    for i, bottom in enumerate(bottoms):
        dims = " ".join(f"dim: {size}" for size in bottom.shape)
        shape = f"input_param {{ shape {{ {dims} }} }}"
        lines.append(f'layer {{ name: "in{i}" type: "Input" top: "x{i}" {shape} }}\n')
    return "".join(lines)


def learned(kind: str, bottoms: list[np.ndarray], top: str = 'top: "loss"') -> str:
    """A net in which the first bottom passes a learned Bias, whose gradient needs no force."""
    others = " ".join(f'bottom: "x{i}"' for i in range(1, len(bottoms)))
    return (
        inputs(bottoms)
        + 'layer { name: "bias" type: "Bias" bottom: "x0" top: "y" bias_param { axis: 0 } }\n'
        + f'layer {{ name: "loss" bottom: "y" {others} {top} {kind} }}\n'
    )


def values(bottoms: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {f"x{i}": bottom for i, bottom in enumerate(bottoms)}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients(caffe: Any, tmp_path: Path, name: str) -> None:
    """Over a whole script: what a backward pass goes by is Caffe's choice."""
    kind, bottoms = LOSSES[name]
    nets = Pair(caffe, tmp_path, learned(kind, bottoms))
    nets.put(values(bottoms))
    theirs, mine = nets.do(lambda net: net._forward(0, len(net.layers) - 1))
    assert mine == pytest.approx(theirs, rel=1e-4)
    hinge = ["y"] if "hinge" in name else []  # in whose diff Caffe keeps something
    nets.check(without=hinge)
    nets.do(lambda net: net.backward())
    nets.check()
    nets.do(lambda net: net.backward())  # once more, without a forward pass
    nets.check()
    # The script changes everything, and then asks for the gradient.
    nets.put({name: np.roll(value, 1, 0) for name, value in values(bottoms).items()})
    nets.put({"y": np.roll(bottoms[0], 2, 0)})
    nets.do(lambda net: net.backward(start="loss", end="loss"))
    nets.check()
    nets.do(lambda net: net.forward())
    nets.do(lambda net: net.backward())
    nets.check()


@pytest.mark.parametrize("name", BOTH_SIDES)
def test_both_sides_have_a_gradient(caffe: Any, tmp_path: Path, name: str) -> None:
    kind, bottoms = LOSSES[name]
    top = " ".join(f'bottom: "x{i}"' for i in range(len(bottoms)))
    text = f'force_backward: true\n{inputs(bottoms)}layer {{ name: "loss" {top} {kind} }}'
    nets = Pair(caffe, tmp_path, text)
    nets.put(values(bottoms))
    nets.do(lambda net: net.forward())
    nets.do(lambda net: net.backward())
    nets.check()
    assert np.abs(nets.ours.blobs["x1"].diff).max() > 0.01


def test_backward_before_any_forward_pass(caffe: Any, tmp_path: Path) -> None:
    nets = Pair(caffe, tmp_path, learned(*LOSSES["softmax"]))
    nets.put(values(LOSSES["softmax"][1]))
    nets.do(lambda net: net.backward())
    nets.check()


def test_without_a_top(caffe: Any, tmp_path: Path) -> None:
    """A loss has a top even if the prototxt names none; several do not share it."""
    text = learned(*LOSSES["softmax"], top="") + (
        'layer { name: "more" type: "HingeLoss" bottom: "x0" bottom: "x1" loss_weight: 4 }\n'
    )
    nets = Pair(caffe, tmp_path, text)
    nets.put(values(LOSSES["softmax"][1]))
    theirs, mine = nets.do(lambda net: net._forward(0, len(net.layers) - 1))
    assert mine == pytest.approx(theirs, rel=1e-5)
    nets.do(lambda net: net.backward())
    nets.check(without=["x0", "x0_in0_0_split_1"])  # where Caffe keeps the margins
    assert nets.real.outputs == nets.ours.outputs == []


@pytest.mark.parametrize("first", ["", "loss_weight: 0", "loss_weight: 2"])
@pytest.mark.parametrize("second", ["", "loss_weight: 3"])
def test_a_loss_that_another_layer_reads(
    caffe: Any, tmp_path: Path, first: str, second: str
) -> None:
    """Its own weight, unless the prototxt says it, gives way to the diff that comes from there."""
    kind, bottoms = LOSSES["softmax"]
    power = f'type: "Power" bottom: "loss" top: "twice" power_param {{ scale: 2 }} {second}'
    text = learned(f"{kind} {first}", bottoms) + f'layer {{ name: "twice" {power} }}\n'
    nets = Pair(caffe, tmp_path, text)
    nets.put(values(bottoms))
    for _ in range(2):
        theirs, mine = nets.do(lambda net: net._forward(0, len(net.layers) - 1))
        assert mine == pytest.approx(theirs, rel=1e-4)
        nets.do(lambda net: net.backward())
        nets.check()


@pytest.mark.parametrize(
    "param",
    ["", "top_k: 2", "top_k: 4 ignore_label: 3", "axis: 2", "ignore_label: 0"],
)
def test_accuracy(caffe: Any, tmp_path: Path, param: str) -> None:
    """Equal scores included: the last of them ranks first."""
    scores = RNG.randint(0, 3, (3, 4, 4, 2))
    labels = RNG.randint(0, 4, (3, 1, 4, 2))
    kind = f'type: "Accuracy" top: "each" accuracy_param {{ {param} }}'
    nets = Pair(caffe, tmp_path, learned(kind, [scores, labels]))
    nets.put(values([scores, labels]))
    nets.do(lambda net: net.forward())
    nets.check()


# -- what the build of Caffe at hand does not have -------------------------------------------------


def softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def assert_gradient(net: Any, blob: str, step: float = 1e-2, below: str = "") -> None:
    """The blob's diff is the slope of the net's loss, by central differences.

    Or the diff of the blob `below`, where that is the same.
    """
    last = len(net.layers) - 1
    net._forward(0, last)
    net.backward()
    found, data = net.blobs[below or blob].diff.copy(), net.blobs[blob].data
    for index in np.ndindex(data.shape):
        at = data[index]
        losses = []
        for moved in (at + step, at - step):
            data[index] = moved
            losses.append(net._forward(0, last))
        data[index] = at
        assert found[index] == pytest.approx((losses[0] - losses[1]) / 2 / step, abs=2e-3)


def test_second_top_of_softmax(tmp_path: Path) -> None:
    """It is what the backward pass goes by, so a script may change it."""
    kind, bottoms = LOSSES["softmax"]
    net = net_of("force_backward: true " + learned(kind, bottoms, 'top: "loss" top: "p"'), tmp_path)
    for name, value in values(bottoms).items():
        net.blobs[name].data[...] = value
    net.forward()
    np.testing.assert_allclose(net.blobs["p"].data, softmax(SCORES), 1e-5)
    net.blobs["p"].data[...] = 0.5
    net.backward()
    expected = (0.5 - np.eye(5)[CLASSES]) / 6
    np.testing.assert_allclose(net.blobs["x0"].diff, expected, 1e-5)


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_sigmoid_with_ignored_targets(tmp_path: Path, mode: str) -> None:
    """As in Caffe's releases since 2016."""
    x, t = 2 * MAPS[:, :, :, 0], RNG.randint(-1, 2, (2, 4, 3))
    kind = (
        f'type: "SigmoidCrossEntropyLoss" loss_param {{ ignore_label: -1 normalization: {mode} }}'
    )
    net = net_of("force_backward: true " + learned(kind, [x, t]), tmp_path)
    net.blobs["x0"].data[...], net.blobs["x1"].data[...] = x, t
    net.forward()
    p = 1 / (1 + np.exp(-x))
    losses = -(t * np.log(p) + (1 - t) * np.log(1 - p))[t >= 0]
    number = {"FULL": t.size, "VALID": losses.size, "BATCH_SIZE": 2, "NONE": 1}[mode]
    assert net.blobs["loss"].data == pytest.approx(losses.sum() / number, rel=1e-5)
    assert_gradient(net, "x0")


def test_infogain_of_scores(tmp_path: Path) -> None:
    """As in Caffe's releases since 2017: along an axis, and with labels that do not count."""
    gains = RNG.uniform(size=(4, 4))
    labels = np.where(PLACES == 1, 9, PLACES)
    kind = 'type: "InfogainLoss" infogain_loss_param { axis: 1 } loss_param { ignore_label: 9 }'
    net = net_of(learned(kind, [MAPS, labels, gains]), tmp_path)
    net.blobs["x0"].data[...], net.blobs["x1"].data[...] = MAPS, labels
    net.blobs["x2"].data[...] = gains
    net.forward()
    rows, numbers = np.moveaxis(softmax(MAPS), 1, -1)[labels != 9], labels[labels != 9]
    expected = -(gains[numbers] * np.log(rows)).sum(1).mean()
    assert net.blobs["loss"].data == pytest.approx(expected, rel=1e-5)
    assert_gradient(net, "x0", below="y")


def test_infogain_of_a_file(caffe: Any, tmp_path: Path) -> None:
    file = tmp_path / "gains.binaryproto"
    blob = caffe.proto.caffe_pb2.BlobProto(num=1, channels=1, height=5, width=5)
    blob.data.extend(GAINS.ravel())
    file.write_bytes(blob.SerializeToString())
    kind = f'type: "InfogainLoss" infogain_loss_param {{ source: "{file}" }}'
    nets = Pair(caffe, tmp_path, learned(kind, [CHANCES, CLASSES]))
    nets.put(values([CHANCES, CLASSES]))
    nets.do(lambda net: net.forward())
    nets.do(lambda net: net.backward())
    nets.check()


def test_smooth_l1_of_faster_rcnn(tmp_path: Path) -> None:
    """With sigma, and weights inside and outside."""
    inside, outside = RNG.randint(0, 2, (4, 3)), RNG.uniform(size=(4, 3))
    kind = 'type: "SmoothL1Loss" smooth_l1_loss_param { sigma: 3 }'
    net = net_of("force_backward: true " + learned(kind, [A, B, inside, outside]), tmp_path)
    for name, value in values([A, B, inside, outside]).items():
        net.blobs[name].data[...] = value
    net.forward()
    d = np.abs(inside * (A - B))
    losses = outside * np.where(d < 1 / 9, 4.5 * d * d, d - 0.5 / 9)
    assert net.blobs["loss"].data == pytest.approx(losses.sum() / 4, rel=1e-5)
    assert_gradient(net, "x0", 1e-3)


def test_smooth_l1_of_fast_rcnn(tmp_path: Path) -> None:
    """A third bottom weighs the differences, and Caffe leaves it out of the gradient."""
    weights = np.array([0, 0.5, 2])
    kind = 'type: "SmoothL1Loss"'
    net = net_of("force_backward: true " + learned(kind, [A, B, 0 * A]), tmp_path)
    for name, value in values([A, B, weights + 0 * A]).items():
        net.blobs[name].data[...] = value
    net.forward()
    net.backward()
    d = weights * (A - B)
    losses = np.where(np.abs(d) < 1, d * d / 2, np.abs(d) - 0.5)
    assert net.blobs["loss"].data == pytest.approx(losses.sum() / 4, rel=1e-5)
    np.testing.assert_allclose(net.blobs["x0"].diff, d.clip(-1, 1) / 4, 1e-5, 1e-6)


# -- what Caffe ends its process for ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "hinge", "sigmoid", "infogain", "logistic"])
def test_no_gradient_to_labels(tmp_path: Path, name: str) -> None:
    kind, bottoms = LOSSES[name]
    flags = "propagate_down: true " * len(bottoms)
    net = net_of(learned(kind + flags, bottoms), tmp_path)
    net.forward()
    with pytest.raises(EngineError, match=r"'loss' \(\w+\) sends no diff to its bottom 'x1'"):
        net.backward()


def test_no_gradient_through_accuracy(tmp_path: Path) -> None:
    net = net_of("force_backward: true " + learned('type: "Accuracy"', [SCORES, CLASSES]), tmp_path)
    net.forward()
    with pytest.raises(EngineError, match="'y': Accuracy has no gradient"):
        net.backward()
    net.backward(start="bias")


@pytest.mark.parametrize("label", [5, -1])
def test_labels_that_are_no_classes(tmp_path: Path, label: int) -> None:
    net = net_of(learned(*LOSSES["softmax"]), tmp_path)
    net.blobs["x1"].data[3] = label
    with pytest.raises(
        EngineError, match=rf"label {label} in 'x1' is out of range: there are 5 classes"
    ):
        net.forward()


@pytest.mark.parametrize(
    ("kind", "bottoms", "words"),
    [
        ('type: "SoftmaxWithLoss"', [SCORES, SCORES], "take 6 labels from 0 to 4, got 30"),
        (
            'type: "EuclideanLoss"',
            [A, B[:, :2]],
            r"the same number of values, got \(4, 3\) and \(4, 2\)",
        ),
        ('type: "InfogainLoss"', [CHANCES, CLASSES], "needs a matrix: a third bottom, or source"),
        ('type: "Accuracy" accuracy_param { top_k: 9 }', [SCORES, CLASSES], "top_k is 9"),
        ('type: "HingeLoss"', [SCORES, CLASSES, A], r"takes 2 bottom blob\(s\), got 3"),
        ('type: "ContrastiveLoss"', [A, B[:, :2], SIMILAR], "two bottoms of vectors of one length"),
    ],
)
def test_bottoms_that_do_not_fit(
    tmp_path: Path, kind: str, bottoms: list[np.ndarray], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        net_of(learned(kind, bottoms), tmp_path)

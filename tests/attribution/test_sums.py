"""What the maps of some methods sum to, on every net that we ship.

Integrated gradients are complete: they sum to the difference between image and baseline. Relevance
is conserved: it sums to the score, where all of that comes from the image and nothing from biases.

The nets have random weights, and BatchNorms use the image's statistics: with random statistics, an
image's contribution fades from layer to layer. Nets that would take seconds run on smaller images
and with fewer channels than in the file, but with the same layers and wiring.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_nets import noise
from torch import Tensor, nn

import deepvis_caffe as dv
from deepvis_caffe.attribution import relevance
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.torch.layer import Layer, build
from deepvis_caffe.errors import EngineError, ImageError, ModelError
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.resources import resource

Case = tuple[str, Net, np.ndarray]


@dataclass(frozen=True)
class Shipped:
    """A net, as it is tested.

    Attributes
    ----------
    layer
        Whose units are attributed: the classes, below any Softmax.
    size
        Height and width of the image; as in the file where it is None.
    narrow
        Whether widths of 256 and more are a quarter of what the file says.
    changes
        What else is replaced in the file, by regular expression.
    """

    layer: str
    size: tuple[int, int] | None = None
    narrow: bool = False
    changes: Mapping[str, str] = field(default_factory=dict)

    def text(self, text: str) -> str:
        """The file's text, reduced."""
        for pattern, new in self.changes.items():
            text, count = re.subn(pattern, new, text)
            assert count, pattern
        if self.narrow:
            text = re.sub(r"(num_output: )(\d+)", _quarter, text)
        return text


def _quarter(found: re.Match[str]) -> str:
    width = int(found[2])
    return f"{found[1]}{width // 4 if width >= 256 else width}"


# Feature maps of 12 x 12 instead of 60 x 60, with the same pyramid: 1, 2, 3 and 6 windows across.
PYRAMID = {
    "kernel_size: 60 stride: 60": "kernel_size: 12 stride: 12",
    "kernel_size: 30 stride: 30": "kernel_size: 6 stride: 6",
    "kernel_size: 20 stride: 20": "kernel_size: 4 stride: 4",
    "kernel_size: 10 stride: 10": "kernel_size: 2 stride: 2",
    "height: 60 width: 60": "height: 12 width: 12",
}
SHIPPED = {
    "bvlc_alexnet": Shipped("fc8", (99, 99), narrow=True),
    "bvlc_googlenet": Shipped("loss3/classifier"),
    "bvlc_reference_caffenet": Shipped("fc8", (99, 99), narrow=True),
    "caffenet_yos": Shipped("fc8", (99, 99), narrow=True),
    "deeplab_largefov": Shipped("fc8_interp", (65, 65), narrow=True),
    "densenet121": Shipped("fc6", (96, 96)),
    # Above lie the proposals, which are no differentiable function of the image.
    "faster_rcnn_vgg16": Shipped("rpn_cls_score", (64, 64), narrow=True),
    "fcn32s": Shipped("score", (32, 32), narrow=True),
    "fcn8s": Shipped("score", (32, 32), narrow=True),
    "lenet": Shipped("ip2"),
    "lenet_digits": Shipped("ip2"),
    "lrcn": Shipped("fc6", narrow=True),  # above, 16 frames are one clip
    "m11": Shipped("fc"),
    "mnist_siamese": Shipped("feat"),
    "mobilenet_v1": Shipped("fc7", (96, 96)),
    "mobilenet_v2": Shipped("fc7", (96, 96)),
    "nin_imagenet": Shipped("pool4", (99, 99)),
    "pspnet50": Shipped("conv6_interp", (89, 89), narrow=True, changes=PYRAMID),
    "res10_ssd_face": Shipped("mbox_conf"),
    "resnet101": Shipped("fc1000", (197, 197), narrow=True),
    "resnet152": Shipped("fc1000", (197, 197), narrow=True),
    "resnet50": Shipped("fc1000", (197, 197), narrow=True),
    "segnet": Shipped("conv1_1_D", (64, 64), narrow=True, changes={r" upsample_[wh]: \d+": ""}),
    "shufflenet_g3": Shipped("fc1000", (96, 96)),
    "sketch_a_net": Shipped("conv8"),
    "squeezenet_v1.0": Shipped("pool10", (99, 99)),
    "squeezenet_v1.1": Shipped("pool10", (99, 99)),
    "ssd300_vgg": Shipped("mbox_conf", narrow=True),
    "vgg16": Shipped("fc8", (64, 64), narrow=True),
    "vgg19": Shipped("fc8", (64, 64), narrow=True),
    "yolo_v2": Shipped("region", (96, 96), narrow=True),
    "zfnet": Shipped("fc8", (99, 99), narrow=True),
}
CONVOLUTIONS = ("Convolution", "Deconvolution")
QUICK = ("lenet", "lenet_digits", "mnist_siamese")
# z+ has nobody to share relevance among where a convolution has no positive contribution. Here a
# depthwise one whose outputs may be negative, no ReLU being behind it, has such outputs.
LEAKS = {"shufflenet_g3"}
# Of which no gradient of one picture, or no relevance, can be had up to the classes.
REFUSED = {
    "c3d": (Shipped("fc8-1", narrow=True), ImageError, "images need 4 axes"),
    "lrcn": (Shipped("fc8-final"), EngineError, "cannot run with batch size 1"),
    "faster_rcnn_vgg16": (
        Shipped("cls_score", (64, 64), narrow=True),
        ModelError,
        "'cls_score' (InnerProduct) has no units: it has one row for each thing that 'proposal'",
    ),
}


def test_every_shipped_net_is_here() -> None:
    folder = resource("prototxt", "lenet.prototxt").parent
    assert {path.stem for path in folder.iterdir()} == {*SHIPPED, *REFUSED}


@pytest.fixture(
    scope="module",
    params=[n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SHIPPED],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A net's name, the net, and an image (1, C, H, W)."""
    name = request.param
    net = _loaded(name, SHIPPED[name], tmp_path_factory.mktemp("net"))
    x = 50 * noise(1, *net.inputs[net.image_input()][1:])
    _normalize(net, x)
    return name, net, x


def test_integrated_gradients_are_complete(case: Case) -> None:
    """On a way so short that the gradient changes little: few steps are enough."""
    name, net, x = case
    layer, baseline = SHIPPED[name].layer, 0.9999 * x[0]
    image, other = (_scores(net, layer, one) for one in (x, baseline[None]))
    unit = int(np.abs(image - other).argmax())
    found = dv.attribute(
        *(net, x, layer, unit, "integrated_gradients", "center"), baseline=baseline, steps=4
    )
    expected = float(image[unit] - other[unit])
    assert found.map.sum(dtype=np.float64) == pytest.approx(expected, rel=0.05)


def test_relevance_by_the_epsilon_rule_is_conserved(case: Case) -> None:
    name, net, x = case
    with _without_biases(net):
        _assert_conserved(net, SHIPPED[name].layer, x, "lrp_epsilon")


def test_relevance_by_the_z_plus_rule_is_conserved(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or lost where a convolution has no positive contribution, and nowhere else."""
    name, net, x = case
    lost: list[float] = []
    shared = relevance.z_plus_rule

    def watched(stage: relevance.Stage, below: Tensor, share: Tensor) -> Tensor:
        lost.append(float(share[_positive_contributions(stage.layer, below) == 0].double().sum()))
        return shared(stage, below, share)

    monkeypatch.setattr(relevance, "z_plus_rule", watched)
    with _without_biases(net):
        _assert_conserved(net, SHIPPED[name].layer, x, "lrp_z_plus", lost)
    assert any(lost) == (name in LEAKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_sum_is_refused(name: str, tmp_path: Path) -> None:
    shipped, error, message = REFUSED[name]
    net = _loaded(name, shipped, tmp_path)
    x = noise(1, *net.inputs[net.image_input()][1:])
    with pytest.raises(error, match=re.escape(message)):
        dv.attribute(net, x, shipped.layer, 0, "lrp_epsilon")


def _loaded(name: str, shipped: Shipped, folder: Path) -> Net:
    """A net with random weights."""
    path = folder / f"{name}.prototxt"
    path.write_text(shipped.text(resource("prototxt", path.name).read_text()))
    sizes = None
    if shipped.size:
        model = load_model(path, None, need_weights=False)
        channels = model.input_shapes[model.image_input][1]
        sizes = {model.image_input: (1, channels, *shipped.size)}
    graph = load_model(path, None, need_weights=False, input_shapes=sizes).graph
    weights = random_weights(infer(graph, sizes, faults={}), graph, np.random.default_rng(0))
    for norm in [one for one in weights if one.endswith("/bn/norm")]:  # as a file of theirs has it
        mean, variance, count = weights.pop(norm)
        weights[norm.removesuffix("/norm")] += (mean / count, variance / count)
    return dv.load_net(path, weights, engine="torch", device="cpu", input_shapes=sizes)


def _normalize(net: Net, x: np.ndarray) -> None:
    """Give whatever normalizes the statistics of what it gets of this image."""
    producer = net.model.graph.producer
    norms = [
        module
        for module in net.module.layers
        if module.layer.type == "BatchNorm"
        # SegNet's normalizations, whose statistics are in the factors
        or (module.layer.type == "Scale" and producer[module.layer.bottoms[0]].type in CONVOLUTIONS)
    ]

    def set_statistics(norm: Layer, bottoms: tuple[Tensor, ...]) -> None:
        (below,) = bottoms
        axes = [0, *range(2, below.ndim)]
        variance, mean = torch.var_mean(below, axes, correction=0)
        if norm.layer.type == "BatchNorm":
            norm.mean.copy_(mean * norm.count)
            norm.variance.copy_(variance * norm.count)
        else:
            norm.scale.copy_(variance.rsqrt())
            norm.bias.copy_(-mean * variance.rsqrt())

    hooks = [norm.register_forward_pre_hook(set_statistics) for norm in norms]
    if norms:
        with torch.no_grad():
            net.module(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()


@contextmanager
def _without_biases(net: Net) -> Iterator[None]:
    """All that reaches a unit comes from the image: no biases, and no means that are subtracted."""
    blobs = [
        blob
        for module in net.module.layers
        for name, blob in module.named_parameters(recurse=False)
        if name in ("bias", "mean")
    ]
    kept = [blob.clone() for blob in blobs]
    with torch.no_grad():
        for blob in blobs:
            blob.zero_()
        yield
        for blob, values in zip(blobs, kept, strict=True):
            blob.copy_(values)


def _scores(net: Net, layer: str, x: np.ndarray) -> np.ndarray:
    """The middle value of every class."""
    values = net.forward({net.image_input(): x, **net.other_inputs(x)}, [layer])[layer][0]
    return values[(slice(None), *(size // 2 for size in values.shape[1:]))]


def _assert_conserved(
    net: Net, layer: str, x: np.ndarray, method: str, lost: Sequence[float] = ()
) -> None:
    scores = _scores(net, layer, x)
    unit = int(np.abs(scores).argmax())  # the least that cancels out
    found = dv.attribute(net, x, layer, unit, method, "center", epsilon=1e-30)
    rounding = 1e-6 * np.abs(found.map).sum(dtype=np.float64)
    expected = pytest.approx(float(scores[unit]), rel=1e-4, abs=rounding)
    assert found.map.sum(dtype=np.float64) + sum(lost) == expected


def _positive_contributions(layer: Layer, below: Tensor) -> Tensor:
    """How many inputs contribute positively to each of a convolution's outputs.

    What follows it, a BatchNorm or a Scale, must have positive factors, as random ones are.
    """
    weight, *biases = layer.parameters()
    none = [nn.Parameter(torch.zeros_like(one), requires_grad=False) for one in biases]

    def counted(weights: Tensor, inputs: Tensor) -> Tensor:
        ones = build(layer.layer, [nn.Parameter(weights.float(), requires_grad=False), *none])
        return ones.forward(inputs.float())

    return (counted(weight > 0, below > 0) + counted(weight < 0, below < 0)).round()

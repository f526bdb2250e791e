"""Well-known nets: the torch engine against real Caffe, every blob and every mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import noise, relative_error, weights_for

from deepvis_caffe.engines.load import load_net
from deepvis_caffe.engines.pycaffe import PycaffeNet
from deepvis_caffe.engines.torch import TorchNet
from deepvis_caffe.image import sample_image
from deepvis_caffe.resources import resource

pytestmark = pytest.mark.slow

# Each with the layers to start backward passes from: one at the top, one in the middle.
NETS = {
    "lenet": ("ip2", "pool2"),
    "squeezenet_v1.1": ("pool10", "fire5/concat"),
    "caffenet_yos": ("fc8", "norm2"),
    "bvlc_reference_caffenet": ("fc8", "conv5"),
    "bvlc_alexnet": ("fc8", "pool2"),
    "bvlc_googlenet": ("loss3/classifier", "inception_4a/output"),
    "resnet50": ("fc1000", "res3b"),
    "nin_imagenet": ("pool4", "cccp6"),
    "vgg16": ("fc8", "conv4_2"),
}


@pytest.mark.pycaffe
@pytest.mark.parametrize("name", NETS)
def test_engines_agree(caffe: Any, name: str) -> None:
    prototxt = resource("prototxt", f"{name}.prototxt")
    check_engines_agree(prototxt, weights_for(prototxt), NETS[name])


@pytest.mark.pycaffe
def test_engines_agree_on_real_squeezenet(caffe: Any, squeezenet_weights: Path) -> None:
    prototxt = resource("prototxt", "squeezenet_v1.1.prototxt")
    check_engines_agree(prototxt, squeezenet_weights, ("pool10", "fire5/concat", "conv1"))


@pytest.mark.parametrize(
    ("photo", "labels"),
    [("chelsea", {"tabby", "Egyptian cat", "tiger cat"}), ("coffee", {"espresso", "cup"})],
)
def test_real_squeezenet_sees_what_is_there(
    engine: str, squeezenet_weights: Path, photo: str, labels: set[str]
) -> None:
    prototxt = resource("prototxt", "squeezenet_v1.1.prototxt")
    net = load_net(prototxt, squeezenet_weights, engine, mean=(104, 117, 123), device="cpu")
    x = net.preprocessor(sample_image(photo))[None]
    best = int(net.forward(x)["prob"].argmax())
    names = resource("weights", "imagenet_labels.txt").read_text().splitlines()
    assert names[best].split(",")[0] in labels


def check_engines_agree(prototxt: Path, weights: Any, seeds: tuple[str, ...]) -> None:
    torch_net, caffe_net = (
        load_net(prototxt, weights, engine, device="cpu") for engine in ("torch", "pycaffe")
    )
    (shape,) = torch_net.inputs.values()
    x = 64 * noise(*shape)  # pixels less their mean
    blobs = list(torch_net.model.graph.blobs)
    ours, theirs = torch_net.forward(x, blobs=blobs), caffe_net.forward(x, blobs=blobs)
    errors = {blob: relative_error(ours[blob], theirs[blob]) for blob in blobs}
    assert max(errors.values()) < 1e-4, errors
    assert all(np.ptp(theirs[blob]) > 0 for blob in blobs)  # neither dead nor exploded

    take_values(caffe_net, torch_net, x)
    for seed in seeds:
        value = torch_net.model.graph.gradient_start(seed)
        diff = noise(*torch_net.shapes[value], seed=2)
        for mode in ("gradient", "deconv", "guided"):
            ours, theirs = (
                net.backward(seed, diff, mode, blobs=blobs) for net in (torch_net, caffe_net)
            )
            errors = {blob: relative_error(ours[blob], theirs[blob]) for blob in blobs}
            assert max(errors.values()) < 1e-3, (seed, mode, errors)
            assert np.ptp(theirs["data"]) > 0


def take_values(caffe_net: PycaffeNet, torch_net: TorchNet, x: np.ndarray) -> None:
    """Run each of Caffe's layers again, on the values that the torch engine has below it.

    Among millions of ReLUs and pooling windows some are so close to a tie that rounding decides,
    and a decision that falls the other way changes the gradient there. What is to be compared are
    the gradients at the same values.
    """
    own = {layer.name: layer.tops[0] for layer in torch_net.model.graph}
    computed = torch_net.forward(x, blobs=[f"{name}:raw" for name in own])
    names = {
        value: value.blob + (f"#{value.version}" if value.version else "") for value in own.values()
    }
    values = {names[value]: computed[f"{name}:raw"] for name, value in own.items()}
    stock = caffe_net.caffe_net
    for index, bottoms in enumerate(stock.bottom_names.values()):
        for blob in bottoms:
            if blob in values:
                stock.blobs[blob].data[...] = values[blob]
        stock._forward(index, index)

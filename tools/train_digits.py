"""Train the net that ships with its weights: ``python -m tools.train_digits``.

A LeNet with few channels (``prototxt/lenet_digits.prototxt``) on the 1,797 handwritten digits that
come with scikit-learn: 8x8 pixels in 17 gray levels, from "Optical Recognition of Handwritten
Digits" (Alpaydin and Kaynak 1998, UCI Machine Learning Repository, CC BY 4.0). They are enlarged
to 20x20 and centered in 28x28 pixels, white on black, as in MNIST.

Needs scikit-learn and PyTorch, and takes less than a minute on two cores. Writes
``weights/lenet_digits.caffemodel`` and the held-out digits of the tests, and prints the accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deepvis_caffe.model.caffemodel import write_caffemodel

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "weights" / "lenet_digits.caffemodel"
SAMPLES = ROOT / "tests" / "fetch" / "held_out_digits.npz"

HELD_OUT = 360  # a fifth
SAMPLES_PER_CLASS = 3
EPOCHS = 40
BATCH = 64
# The layers with weights, by their names in the prototxt.
LAYERS = {
    "conv1": nn.Conv2d(1, 16, 5),
    "conv2": nn.Conv2d(16, 32, 5),
    "ip1": nn.Linear(512, 64),
    "ip2": nn.Linear(64, 10),
}


def net() -> nn.Sequential:
    """The layers of ``prototxt/lenet_digits.prototxt``, without its Softmax."""
    for layer in LAYERS.values():
        layer.reset_parameters()
    conv1, conv2, ip1, ip2 = LAYERS.values()
    pool = nn.MaxPool2d(2, 2)
    return nn.Sequential(conv1, pool, conv2, pool, nn.Flatten(), ip1, nn.ReLU(), ip2)


def as_images(digits: NDArray[np.float64]) -> Tensor:
    """``(N, 8, 8)`` in 0..16 -> ``(N, 1, 28, 28)`` in 0..1."""
    images = torch.from_numpy(digits / 16).float()[:, None]
    larger = functional.interpolate(images, size=(20, 20), mode="bilinear", align_corners=False)
    return functional.pad(larger, (4, 4, 4, 4))


def warped(images: Tensor) -> Tensor:
    """Each image, rotated by up to 10 degrees, scaled by up to 10 %, shifted by up to 3 pixels."""
    count = len(images)
    angle, scale = (torch.rand(count) * 2 - 1) * 0.17, 1 + (torch.rand(count) * 2 - 1) * 0.1
    shift = (torch.rand(count, 2) * 2 - 1) * 6 / 28
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrices = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(model: nn.Sequential, images: Tensor, classes: Tensor) -> None:
    """Adam with a learning rate that falls to 0, on digits that are randomly warped each time."""
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(model(warped(images[chosen])), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train, print the accuracy, and write the files."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    from sklearn.datasets import load_digits  # only here: nothing else needs scikit-learn

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    train_on, held_out = order[HELD_OUT:], order[:HELD_OUT]
    images, classes = as_images(digits.images), torch.from_numpy(digits.target).long()

    torch.manual_seed(0)
    model = net()
    train(model, images[train_on], classes[train_on])
    with torch.no_grad():
        right = model(images[held_out]).argmax(1) == classes[held_out]
    print(f"{int(right.sum())} of {HELD_OUT} held-out digits: {float(right.float().mean()):.2%}")

    blobs = {
        name: (
            "Convolution" if name.startswith("conv") else "InnerProduct",
            [layer.weight.detach().numpy(), layer.bias.detach().numpy()],
        )
        for name, layer in LAYERS.items()
    }
    write_caffemodel(WEIGHTS, "LeNet-digits", blobs)
    # The first few of each class, right or wrong.
    samples = np.concatenate(
        [held_out[digits.target[held_out] == k][:SAMPLES_PER_CLASS] for k in range(10)]
    )
    pixels = (images[samples, 0].numpy() * 255).round().astype(np.uint8)
    np.savez_compressed(SAMPLES, images=pixels, classes=digits.target[samples].astype(np.uint8))
    print(f"wrote {WEIGHTS.relative_to(ROOT)} and {SAMPLES.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""A small net of images as files, for pycaffe's classes and ours to load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepvis_caffe.model.caffemodel import write_caffemodel

PROTOTXT = """
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 4 dim: CHANNELS dim: 13 dim: 13 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def write_net(folder: Path, channels: int = 3) -> tuple[str, str]:
    """Paths of the prototxt and the caffemodel."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    prototxt, weights = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(PROTOTXT.replace("CHANNELS", str(channels)))
    layers = {
        "conv": ("Convolution", (draw(6, channels, 3, 3), draw(6))),
        "fc": ("InnerProduct", (draw(5, 216), draw(5))),
    }
    write_caffemodel(weights, "Net", layers)
    return str(prototxt), str(weights)

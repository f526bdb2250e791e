"""A tiny model as files: prototxt, caffemodel, labels, settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepvis_caffe.model.caffemodel import write_caffemodel

LABELS = ("ant", "bee, honey bee", "cat", "dog")
MEAN = (100.0, 110.0, 120.0)
INPUT = (3, 12, 16)

PROTOTXT = """
name: "Small"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 12 dim: 16 } } }
layer { name: "conv/1" type: "Convolution" bottom: "data" top: "conv/1"
        convolution_param { num_output: 5 kernel_size: 3 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv/1" top: "conv/1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv/1" top: "fc"
        inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def weights() -> dict[str, tuple[np.ndarray, ...]]:
    """The same each time; by layer."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.05, shape).astype(np.float32)

    return {"conv/1": (draw(5, 3, 3, 3), draw(5)), "fc": (draw(4, 5 * 5 * 7), draw(4))}


def write_model(folder: Path) -> Path:
    """Write the model and the settings that name it; the settings' path."""
    types = {"conv/1": "Convolution", "fc": "InnerProduct"}
    layers = {name: (types[name], blobs) for name, blobs in weights().items()}
    write_caffemodel(folder / "small.caffemodel", "Small", layers)
    (folder / "small.prototxt").write_text(PROTOTXT)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    settings = folder / "settings_local.py"
    settings.write_text(
        "prototxt = 'small.prototxt'\n"
        "weights = 'small.caffemodel'\n"
        "labels = 'labels.txt'\n"
        f"mean = {MEAN}\n"
        "engine = 'torch'\n"
        "results = 'out'\n"
    )
    return settings

"""The README's pictures, made anew: `python docs/make_pictures.py`, after `make demo`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

import deepvis_caffe as dv
from deepvis_caffe.fetch import fetch, known_models
from deepvis_caffe.gallery.montage import captioned, montage, vivid

IMAGES = Path(__file__).parent / "images"
DEMO = Path("results/demo")
LAYER, UNIT = "fire8/concat", 375  # answers to eyes
MODES = ("gradient", "deconv", "guided")


def main() -> None:
    """Write them all."""
    IMAGES.mkdir(exist_ok=True)
    for path in DEMO.glob("demo_*.png"):
        shutil.copy(path, IMAGES)
    dv.write_image(IMAGES / "backward.png", backward_by_mode())


def backward_by_mode() -> np.ndarray:
    """A photograph, and what reaches it from one unit's activations in each mode."""
    row = known_models()["squeezenet"]
    net = dv.load_net(row.prototxt, fetch("squeezenet"), mean=row.mean)
    x = net.preprocessor(dv.sample_image("chelsea"))[None]
    activations = net.forward(x, [LAYER])[LAYER]
    diff = np.zeros_like(activations)
    diff[:, UNIT] = activations[:, UNIT]
    cells = [captioned(net.preprocessor.show(x[0]), "photograph")]
    for mode in MODES:
        dx = net.backward(LAYER, diff, mode)["data"][0]
        cells.append(captioned(vivid(net.preprocessor.show_symmetric(dx)), mode))
    return montage(cells, columns=4, padding=6, fill=255)


if __name__ == "__main__":
    main()

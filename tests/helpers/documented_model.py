"""The files that the documentation's snippets use: a small net with its layers, and photographs."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from deepvis_caffe.image import write_image
from deepvis_caffe.model.caffemodel import write_caffemodel

CLASSES = 1000
NAMES = {281: ", tabby", 340: ", zebra"}  # of those that pages name so

PROTOTXT = """
name: "Documented"
layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 7 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fire5/expand1x1" type: "Convolution" bottom: "pool1" top: "fire5/expand1x1"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "fire5/expand3x3" type: "Convolution" bottom: "pool1" top: "fire5/expand3x3"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "fire5/concat" type: "Concat" bottom: "fire5/expand1x1" bottom: "fire5/expand3x3"
        top: "fire5/concat" }
layer { name: "conv5" type: "Convolution" bottom: "fire5/concat" top: "conv5"
        convolution_param { num_output: 256 kernel_size: 3 stride: 2 } }
layer { name: "relu5" type: "ReLU" bottom: "conv5" top: "conv5" }
layer { name: "conv10" type: "Convolution" bottom: "conv5" top: "conv10"
        convolution_param { num_output: 1000 kernel_size: 1 } }
layer { name: "pool10" type: "Pooling" bottom: "conv10" top: "pool10"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "pool10" top: "prob" }
layer { name: "pool5" type: "Pooling" bottom: "conv5" top: "pool5"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc8" type: "InnerProduct" bottom: "pool5" top: "fc8"
        inner_product_param { num_output: 1000 } }
"""

SETTINGS = """
prototxt = "models/mynet_deploy.prototxt"
weights = "models/mynet.caffemodel"
mean = (104, 117, 123)
labels = "models/synset_words.txt"
engine = "torch"
"""


def write_files(folder: Path) -> None:
    """Write the model under each of its names, photographs, a list of classes, and a video."""
    models = folder / "models"
    models.mkdir()
    write_caffemodel(models / "mynet.caffemodel", "Documented", _layers())
    (models / "mynet_deploy.prototxt").write_text(PROTOTXT)
    labels = [f"class {n}{NAMES.get(n, '')}\n" for n in range(CLASSES)]
    (models / "synset_words.txt").write_text("".join(labels))
    shutil.copy(models / "mynet.caffemodel", folder / "net.caffemodel")
    (folder / "deploy.prototxt").write_text(PROTOTXT)
    (folder / "settings_local.py").write_text(SETTINGS)
    rng = np.random.default_rng(0)
    pictures = [np.kron(rng.integers(0, 256, (8, 10, 3), np.uint8), np.ones((6, 6, 1), np.uint8))]
    pictures += [np.roll(pictures[0], 7 * step, axis=1) for step in (1, 2, 3)]
    write_image(folder / "photo.jpg", pictures[0])
    for number, picture in enumerate(pictures):
        write_image(folder / "photos" / f"{number}.jpg", picture)
    np.save(folder / "file.npy", rng.normal(size=CLASSES).astype(np.float32))
    video = cv2.VideoWriter(
        str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, pictures[0].shape[1::-1]
    )
    for picture in pictures:
        video.write(picture[..., ::-1])
    video.release()


def _layers() -> dict[str, tuple[str, tuple[np.ndarray, ...]]]:
    """Type and blobs by layer; the first one's filters are gratings, as in trained nets."""
    rng = np.random.default_rng(1)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    y, x = np.mgrid[-3:4, -3:4] / 7
    waves = [
        np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) + np.pi / 4)
        for cycles in (0.7, 1.2, 2.0, 2.8)
        for angle in (0.2, 1.4)
    ]
    gratings = np.stack([np.repeat(wave[None], 3, axis=0) for wave in waves]).astype(np.float32)
    return {
        "conv1": ("Convolution", (0.01 * gratings, np.zeros(8, np.float32))),
        "fire5/expand1x1": ("Convolution", (draw(4, 8, 1, 1), draw(4))),
        "fire5/expand3x3": ("Convolution", (draw(4, 8, 3, 3), draw(4))),
        "conv5": ("Convolution", (draw(256, 8, 3, 3), draw(256))),
        "conv10": ("Convolution", (draw(1000, 256, 1, 1), draw(1000))),
        "fc8": ("InnerProduct", (draw(1000, 256), draw(1000))),
    }

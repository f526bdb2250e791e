"""Small nets for the engines' tests, written as prototxt text, and how to load them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.load import load_net
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.model import load_model
from deepvis_caffe.model.shapes import infer

# Where the nets of `load_text` run: "cpu", "cuda", or "simulated" for a simulated CUDA device.
# `benchmarks/gpu` runs the engines' tests on a GPU, too.
_ASKED = os.environ.get("DEEPVIS_TEST_DEVICE", "cpu")
SIMULATED = _ASKED == "simulated"
DEVICE = "cuda" if SIMULATED else _ASKED


def net_text(*layers: str, **inputs: Sequence[int]) -> str:
    """A prototxt: an Input layer for each keyword, then the layers."""
    first = [
        layer(blob, "Input", "", blob, f"input_param {{ shape {{ {_dims(shape)} }} }}")
        for blob, shape in inputs.items()
    ]
    return "\n".join(['name: "small"', *first, *layers])


def layer(name: str, kind: str, bottoms: str, tops: str = "", params: str = "") -> str:
    """One layer; blob names are parted by spaces, and a layer's top has its name by default."""
    read = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    written = " ".join(f'top: "{blob}"' for blob in (tops or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {read} {written} {params} }}'


def conv(name: str, bottom: str, outputs: int, kernel: int = 1, more: str = "") -> str:
    """A convolution."""
    params = f"num_output: {outputs} kernel_size: {kernel} {more}"
    return layer(name, "Convolution", bottom, name, f"convolution_param {{ {params} }}")


def relu(name: str, blob: str) -> str:
    """A ReLU that works in place."""
    return layer(name, "ReLU", blob, blob)


def load_text(
    engine: str,
    folder: Path,
    text: str,
    weights: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = DEVICE,
    **options: Any,
) -> Net:
    """A net on an engine, with random weights where none are given."""
    path = folder / "net.prototxt"
    path.write_text(text)
    if weights is None:
        weights = weights_for(path, seed)
    return load_net(path, weights, engine, device=device, **options)


def weights_for(path: Path, seed: int = 0) -> Mapping[str, Any]:
    """Random weights for a prototxt, always the same for a seed."""
    graph = load_model(path, None, need_weights=False).graph
    return random_weights(infer(graph, faults={}), graph, np.random.default_rng(seed))


def arrays(**weights: Sequence[Any]) -> dict[str, tuple[np.ndarray, ...]]:
    """Weights by layer name, as float32."""
    return {
        name: tuple(np.asarray(blob, np.float32) for blob in blobs)
        for name, blobs in weights.items()
    }


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    """Standard normal float32."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    """``max |got - expected| / max |expected|``."""
    assert got.shape == expected.shape
    scale = np.abs(expected).max()
    return float(np.abs(got - expected).max() / scale) if scale else float(np.abs(got).max())


def _dims(shape: Sequence[int]) -> str:
    return " ".join(f"dim: {size}" for size in shape)

"""Layers without bottoms: Input, which the net itself fills, and DummyData."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepvis_caffe.engines.torch.layers.shape import top_shapes
from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.schema_pb2 import FillerParameter


@register("Input")
def input_(setup: Setup) -> Run:
    """Nothing to run: its tops are what the user passes."""

    def run() -> tuple[Tensor, ...]:
        names = ", ".join(value.blob for value in setup.layer.tops)
        raise EngineError(f"no value was given for {names}")

    return run


@register("DummyData")
def dummy_data(setup: Setup) -> Run:
    """Constant or random blobs. Random ones are drawn once, from the layer's position as seed."""
    fillers = list(setup.layer.param.dummy_data_param.data_filler) or [FillerParameter()]
    shapes = top_shapes(setup)
    if len(fillers) == 1:  # given once for all tops
        fillers *= len(shapes)
    rng = np.random.default_rng(setup.layer.index)
    arrays = [_fill(*each, rng, setup) for each in zip(fillers, shapes, strict=True)]
    tops = tuple(torch.tensor(a, dtype=torch.float32, device=setup.device) for a in arrays)
    return lambda: tops


def _fill(
    filler: FillerParameter, shape: tuple[int, ...], rng: np.random.Generator, setup: Setup
) -> np.ndarray:
    if filler.type == "constant":
        return np.full(shape, filler.value)
    if filler.type == "uniform":
        return rng.uniform(filler.min, filler.max, shape)
    if filler.type == "gaussian":
        return rng.normal(filler.mean, filler.std, shape)
    raise EngineError(
        f"layer {setup.layer.name!r} (DummyData): filler {filler.type!r}; the torch engine fills "
        "with constant, uniform and gaussian"
    )

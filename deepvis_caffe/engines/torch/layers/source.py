"""Layers without bottoms: Input, which the net itself fills, and DummyData."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.schema_pb2 import DummyDataParameter, FillerParameter


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
    param = setup.layer.param.dummy_data_param
    rng = np.random.default_rng(setup.layer.index)
    tops = []
    for i in range(len(setup.layer.tops)):
        filler = _nth(param.data_filler, i) if param.data_filler else FillerParameter()
        array = _fill(filler, _shape(param, i), rng, setup)
        tops.append(torch.from_numpy(array.astype(np.float32)).to(setup.device))
    return lambda: tuple(tops)


def _nth(values: object, i: int) -> object:
    """Caffe's repeated fields are given once for all tops, or once for each."""
    return values[0] if len(values) == 1 else values[i]


def _shape(param: DummyDataParameter, i: int) -> tuple[int, ...]:
    if param.shape:
        return tuple(_nth(param.shape, i).dim)
    return tuple(_nth(sizes, i) for sizes in (param.num, param.channels, param.height, param.width))


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

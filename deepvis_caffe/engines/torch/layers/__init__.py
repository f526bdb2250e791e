"""Every layer type of the torch engine; importing this package registers them."""

from deepvis_caffe.engines.torch.layers import (
    activation,
    cells,
    convolution,
    deformable,
    dense,
    detection,
    flow,
    layout,
    normalization,
    pooling,
    proposals,
    python,
    recurrent,
    regions,
    resampling,
    source,
)

__all__ = [
    "activation",
    "cells",
    "convolution",
    "deformable",
    "dense",
    "detection",
    "flow",
    "layout",
    "normalization",
    "pooling",
    "proposals",
    "python",
    "recurrent",
    "regions",
    "resampling",
    "source",
]

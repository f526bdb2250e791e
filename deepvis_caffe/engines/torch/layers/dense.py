"""InnerProduct and Embed: ``x -> y`` through a learned matrix."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register


@register("InnerProduct")
def inner_product(setup: Setup) -> Run:
    """All axes from `axis` on, flattened in (C, H, W) order, times the weights, plus the bias."""
    param = setup.layer.param.inner_product_param
    weight = setup.weights[0].T if param.transpose else setup.weights[0]
    bias = setup.weights[1] if param.bias_term else None
    return lambda x: F.linear(x.flatten(param.axis), weight, bias)


@register("Embed")
def embed(setup: Setup) -> Run:
    """The weights' row for each integer of x, plus the bias; it has no gradient."""
    weight = setup.weights[0]
    bias = setup.weights[1] if setup.layer.param.embed_param.bias_term else None

    def run(x: Tensor) -> Tensor:
        rows = F.embedding(x.long(), weight)
        return rows if bias is None else rows + bias

    return run

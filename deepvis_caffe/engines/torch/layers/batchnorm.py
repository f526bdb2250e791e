"""Batch normalisation: ``x (N, C, ...) -> (x - mean) / sqrt(variance + eps)`` per channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register


@register("BatchNorm")
def batch_norm(setup: Setup) -> Run:
    """Normalise by the stored statistics; by the batch's own where `use_global_stats` is false.

    The third blob is the scale of the other two: Caffe keeps running sums, not running means.
    """
    param = setup.layer.param.batch_norm_param
    eps = param.eps
    if param.HasField("use_global_stats") and not param.use_global_stats:
        return lambda x: _by_batch(x, eps)
    mean, variance, count = (blob.reshape(-1) for blob in setup.weights)
    factor = torch.where(count == 0, torch.zeros_like(count), 1 / count)
    mean, variance = mean * factor, variance * factor
    return lambda x: F.batch_norm(x, mean, variance, eps=eps)


def _by_batch(x: Tensor, eps: float) -> Tensor:
    axes = [0, *range(2, x.ndim)]
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps)

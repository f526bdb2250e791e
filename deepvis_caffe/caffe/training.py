"""Layers that behave differently in phase TRAIN, or that their forward pass changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.caffe.fillers import random
from deepvis_caffe.caffe.operations import EngineOperation, Operation, operation
from deepvis_caffe.engines.torch.layer import Diffs, Tops
from deepvis_caffe.model.schema_pb2 import TRAIN, LayerParameter
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.shapes.registry import Outcome, Shape


@operation("Dropout")
class Dropout(Operation):
    """In phase TRAIN, zeroes a random fraction of the values and scales up the others."""

    _factors: Tensor | None = None

    @classmethod
    def shapes(cls, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """As the bottom's."""
        return RULES["Dropout"](param, bottoms)

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        (x,) = bottoms
        if self.phase != TRAIN:
            return (x,)
        param = self.layer.param.dropout_param
        kept = random.generator.random(tuple(x.shape)) >= param.dropout_ratio
        self._factors = torch.tensor(kept, dtype=x.dtype, device=x.device)
        if param.scale_train:  # otherwise a fork scales down in phase TEST, by a Power layer here
            self._factors /= 1 - param.dropout_ratio
        return (x * self._factors,)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        (dy,) = dys
        if self.phase != TRAIN:
            return (dy,)
        if self._factors is None or self._factors.shape != dy.shape:
            return (torch.zeros_like(dy),)
        return (dy * self._factors,)


@operation("BatchNorm")
class BatchNorm(EngineOperation):
    """Normalizes with batch statistics and keeps their moving averages, or with the averages.

    Its backward pass uses the values of the last forward pass, even if the blobs have changed.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        param = self.layer.param.batch_norm_param
        said = param.HasField("use_global_stats")
        self._by_batch = not (param.use_global_stats if said else self.phase != TRAIN)
        self._std: Tensor | None = None
        self._top: Tensor | None = None  # with batch statistics

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        (x,) = bottoms
        self.module.check(bottoms)
        param = self.layer.param.batch_norm_param
        if self._by_batch:
            variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
            self._move_averages(mean, variance, x.numel() // len(mean))
        else:
            total = self.weights[2].reshape(-1)
            factor = torch.where(total == 0, torch.zeros_like(total), 1 / total)
            mean, variance = (blob.reshape(-1) * factor for blob in self.weights[:2])
        shape = (1, -1, *[1] * (x.ndim - 2))
        self._std = (variance + param.eps).sqrt().reshape(shape)
        if not self._by_batch:
            return (F.batch_norm(x, mean, variance, eps=param.eps),)
        self._top = (x - mean.reshape(shape)) / self._std
        return (self._top,)

    def _move_averages(self, mean: Tensor, variance: Tensor, number: int) -> None:
        unbiased = variance * (number / (number - 1)) if number > 1 else variance
        news = (mean, unbiased, torch.ones_like(self.weights[2]))
        fraction = self.layer.param.batch_norm_param.moving_average_fraction
        self.new_weights = [
            new.reshape(old.shape) + fraction * old
            for new, old in zip(news, self.weights, strict=True)
        ]

    def unneeded(self, *args: Any) -> Diffs:
        """Caffe's layer computes the diff even if its bottom needs none."""
        return self.backward(*args)

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        (dy,) = dys
        if self._std is None:
            return (torch.zeros_like(dy),)
        if not self._by_batch:
            return (dy / self._std,)
        if self._top is None or self._top.shape != dy.shape:
            return (torch.zeros_like(dy),)
        axes = [0, *range(2, dy.ndim)]
        along = self._top * (dy * self._top).mean(axes, keepdim=True)
        return ((dy - dy.mean(axes, keepdim=True) - along) / self._std,)

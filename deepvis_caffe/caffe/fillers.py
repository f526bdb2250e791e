"""Caffe's fillers: the weights of a net that is made without a weights file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import FillerParameter, LayerParameter

VARIANCE = ("xavier", "msra")


class Random:
    """The source of random numbers for all nets.

    Attributes
    ----------
    generator
        Replaced by :meth:`seed`.
    """

    def __init__(self) -> None:
        self.generator = np.random.default_rng()

    def seed(self, seed: int) -> None:
        """Seed the generator. Equal seeds give equal numbers, but not Caffe's."""
        self.generator = np.random.default_rng(seed)


random = Random()


def fillers_of(layer: LayerParameter, weights: Sequence[Tensor]) -> Iterator[FillerParameter]:
    """The fillers of a layer's weights, in order; zeros by default."""
    if layer.type == "PReLU":
        slope = layer.prelu_param.filler
        default = FillerParameter(type="constant", value=0.25)
        yield slope if layer.prelu_param.HasField("filler") else default
    elif layer.type == "Scale":
        if len(layer.bottom) == 1:
            one = FillerParameter(type="constant", value=1)
            yield layer.scale_param.filler if layer.scale_param.HasField("filler") else one
        yield layer.scale_param.bias_filler
    elif layer.type == "Bias":
        yield layer.bias_param.filler
    elif layer.type == "BatchNorm":
        return
    elif layer.type in ("LSTM", "RNN"):
        recurrent = layer.recurrent_param
        for blob in weights:
            yield recurrent.weight_filler if blob.ndim > 1 else recurrent.bias_filler
    elif layer.type == "Normalize":
        one = FillerParameter(type="constant", value=1)
        yield layer.norm_param.scale_filler if layer.norm_param.HasField("scale_filler") else one
    else:
        for field, value in layer.ListFields():
            if field.name.endswith("_param") and field.message_type is not None:
                known = field.message_type.fields_by_name
                if "weight_filler" in known:
                    yield value.weight_filler
                    if "bias_filler" in known:
                        yield value.bias_filler
                    return


def fill(weights: Sequence[Tensor], layer: LayerParameter) -> None:
    """Fill the weights of a layer according to its prototxt.

    Raises
    ------
    ModelError
        A filler is unknown.
    """
    with torch.no_grad():
        for blob, filler in zip(weights, fillers_of(layer, weights), strict=False):
            values = drawn(filler, tuple(blob.shape), layer.name)
            blob.copy_(torch.as_tensor(values, dtype=blob.dtype))


def drawn(filler: FillerParameter, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Values of a shape from a filler; raises `ModelError` with the layer's name if it cannot."""
    rng, kind = random.generator, filler.type
    if kind == "constant":
        return np.full(shape, filler.value, np.float32)
    if kind == "uniform":
        return rng.uniform(filler.min, filler.max, shape)
    if kind == "gaussian":
        values = rng.normal(filler.mean, filler.std, shape)
        if filler.sparse >= 0:  # number of inputs per output
            values *= rng.random(shape) < filler.sparse / max(shape[0], 1)
        return values
    if kind in VARIANCE:
        n = _connections(filler, shape)
        if kind == "xavier":
            limit = math.sqrt(3 / n)
            return rng.uniform(-limit, limit, shape)
        return rng.normal(0, math.sqrt(2 / n), shape)
    if kind == "positive_unitball":
        values = rng.uniform(0, 1, (shape[0], -1 if not shape[1:] else math.prod(shape[1:])))
        return (values / values.sum(1, keepdims=True)).reshape(shape)
    if kind == "bilinear":
        return _bilinear(shape, name)
    raise ModelError(
        f"layer {name!r}: filler {kind!r} is not known; known are constant, uniform, gaussian, "
        "xavier, msra, positive_unitball and bilinear"
    )


def _connections(filler: FillerParameter, shape: tuple[int, ...]) -> float:
    count = math.prod(shape)
    fan_in = count / shape[0]
    fan_out = count / shape[1] if len(shape) > 1 else count
    norm = FillerParameter.VarianceNorm
    if filler.variance_norm == norm.Value("AVERAGE"):
        return (fan_in + fan_out) / 2
    return fan_out if filler.variance_norm == norm.Value("FAN_OUT") else fan_in


def _bilinear(shape: tuple[int, ...], name: str) -> np.ndarray:
    """Bilinear interpolation by a deconvolution: each kernel is a tent function."""
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ModelError(
            f"layer {name!r}: a bilinear filler needs square kernels, (O, C, K, K), not {shape}"
        )
    size = shape[3]
    factor = math.ceil(size / 2)
    center = (2 * factor - 1 - factor % 2) / (2 * factor)
    tent = 1 - np.abs(np.arange(size) / factor - center)
    return np.broadcast_to(np.outer(tent, tent), shape)

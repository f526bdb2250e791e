"""A plain PyTorch module of a Caffe net: the baseline that the torch engine has to beat.

What a PyTorch user would write: `torch.nn.functional` layer by layer, weights channels last,
autograd for the gradient. It supports the layers of our own prototxts, and no other Caffe quirks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.schema_pb2 import PoolingParameter
from deepvis_caffe.model.sliding_window import convolution_window, pooling_window


class PlainLayer(nn.Module):
    """One layer: its weights, and a function of them and the bottoms.

    Parameters
    ----------
    layer
        The layer.
    weights
        Its learned arrays, in Caffe's order.
    """

    def __init__(self, layer: Layer, weights: list[Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(w, requires_grad=False) for w in weights)
        self.function = FUNCTIONS[layer.type](layer)

    def forward(self, *bottoms: Tensor) -> Tensor:
        """The top."""
        return self.function(*bottoms, *self.weights)


class PlainNet(nn.Module):
    """The layers in order.

    Parameters
    ----------
    model
        A model whose layers are all in `FUNCTIONS`.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.graph: Graph = model.graph
        self.layers = nn.ModuleList()
        for layer in model.graph:
            weights = [torch.tensor(array) for array in model.weights.get(layer.name, ())]
            self.layers.append(
                nn.Identity() if layer.type == "Input" else PlainLayer(layer, weights)
            )
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, name: str) -> Tensor:
        """Images (N, C, H, W) to the value of a layer or blob."""
        target, image = self.graph.gradient_start(name), Value(self.graph.inputs[0])
        values = {image: x.contiguous(memory_format=torch.channels_last)}
        for layer in self.graph.ancestors([target], values):
            values[layer.tops[0]] = self.layers[layer.index](*(values[v] for v in layer.bottoms))
        return values[target]


def _convolution(layer: Layer) -> Callable[..., Tensor]:
    param = layer.param.convolution_param
    window = convolution_window(param, 2)
    options = (window.stride, window.pad, window.dilation, param.group)
    return lambda x, weight, bias=None: F.conv2d(x, weight, bias, *options)


def _pooling(layer: Layer) -> Callable[..., Tensor]:
    param = layer.param.pooling_param
    maximum = param.pool == PoolingParameter.MAX
    if param.global_pooling:
        return F.adaptive_max_pool2d if maximum else lambda x: F.adaptive_avg_pool2d(x, 1)
    window = pooling_window(param, (1, 1))
    options = {"padding": window.pad, "ceil_mode": param.ceil_mode}
    pool = F.max_pool2d if maximum else F.avg_pool2d
    return lambda x: pool(x, window.kernel, window.stride, **options)


def _lrn(layer: Layer) -> Callable[..., Tensor]:
    p = layer.param.lrn_param
    return lambda x: F.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k)


def _batch_norm(layer: Layer) -> Callable[..., Tensor]:
    eps = layer.param.batch_norm_param.eps
    return lambda x, mean, var, count: F.batch_norm(x, mean / count, var / count, eps=eps)


def _scale(layer: Layer) -> Callable[..., Tensor]:
    return lambda x, scale, bias: x * scale[:, None, None] + bias[:, None, None]


FUNCTIONS: dict[str, Callable[[Layer], Callable[..., Tensor]]] = {
    "BatchNorm": _batch_norm,
    "Concat": lambda layer: lambda *bottoms: torch.cat(bottoms, 1),
    "Convolution": _convolution,
    "Dropout": lambda layer: lambda x: x,
    "Eltwise": lambda layer: torch.add,
    "InnerProduct": lambda layer: lambda x, weight, bias: F.linear(x.flatten(1), weight, bias),
    "LRN": _lrn,
    "Pooling": _pooling,
    "ReLU": lambda layer: F.relu,
    "Scale": _scale,
    "Softmax": lambda layer: lambda x: torch.softmax(x, 1),
}

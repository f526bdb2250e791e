"""A Caffe model as a `torch.nn.Module`, for hooks, captum, state_dict and export."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor, nn

from deepvis_caffe.engines.torch.device import memory_format
from deepvis_caffe.engines.torch.layer import Layer, Opaque, build
from deepvis_caffe.engines.torch.layers.source import Input
from deepvis_caffe.engines.torch_support import opaque_layers
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model


class NetModule(nn.Module):
    """The layers of a net as submodules, and a plain forward pass through them.

    Each submodule has its layer's name, with ``_`` for characters that a Python name cannot have:
    ``fire2/squeeze1x1`` is ``fire2_squeeze1x1``; :meth:`layer` takes Caffe's names. The parameters
    are the net's weights, frozen (``requires_grad`` is False). On a CPU most of them share memory
    with the arrays of the `Model`.

    Weights may be changed at any time: in place under ``torch.no_grad()``, by loading a state dict,
    or by replacing parameters. The net's own passes, which cache weights in other layouts, notice.
    They may miss only changes that PyTorch does not count: in-place ones through ``.data``, or
    through a numpy array that shares the memory.

    Parameters
    ----------
    model
        Graph and weights.
    device
        Where it computes.

    Attributes
    ----------
    opaque
        The layers that this engine cannot run; `Opaque` modules stand in for them.
    inputs
        Names of the input blobs that :meth:`forward` takes, in order.

    Examples
    --------
    >>> net.module.conv1.register_forward_hook(lambda module, inputs, top: print(top.shape))
    >>> x = torch.zeros(1, 3, 227, 227, requires_grad=True)
    >>> net.module(x)[0, 281].backward()  # x.grad is the saliency map
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        super().__init__()
        self.graph, self.inputs = model.graph, tuple(model.input_shapes)
        self.opaque = opaque_layers(model)
        self._by_layer: dict[str, str] = {}
        parameters: dict[int, nn.Parameter] = {}  # layers may share weights
        for layer in model.graph:
            weights = []
            for array in model.weights.get(layer.name, ()):
                if id(array) not in parameters:
                    parameters[id(array)] = _parameter(array, device)
                weights.append(parameters[id(array)])
            name = re.sub(r"\W", "_", layer.name) or "_"
            while hasattr(self, name):
                name += "_"
            reason = self.opaque.why_not(layer.name)
            module = Opaque(layer, reason) if reason else build(layer, weights)
            self.add_module(name, module.to(device))
            self._by_layer[layer.name] = name
        self.eval()

    def layer(self, name: str) -> Layer:
        """The submodule of the layer that the prototxt calls `name`."""
        return self._modules[self._by_layer[self.graph.layer(name).name]]  # type: ignore

    @property
    def layers(self) -> list[Layer]:
        """All layers in order, input layers included."""
        return list(self._modules.values())  # type: ignore

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run each layer that can run, once.

        Parameters
        ----------
        inputs
            One tensor for each input blob of the net, in order: (N, C, H, W) for images,
            preprocessed.

        Returns
        -------
        Tensor or tuple of Tensor
            The values that no running layer reads, in the net's order; a single one is unwrapped.
        """
        blobs = map(Value, self.inputs)
        values = {blob: laid_out(x) for blob, x in zip(blobs, inputs, strict=True)}
        for layer, module in zip(self.graph, self.layers, strict=True):
            if not isinstance(module, Input) and self.opaque.runs(layer.name):
                tops = module(*(values[value] for value in layer.bottoms))
                tops = tops if isinstance(tops, tuple) else (tops,)
                values.update(zip(layer.tops, tops, strict=True))
        found = tuple(values[value] for value in self.opaque.output_values)
        return found[0] if len(found) == 1 else found


def laid_out(x: Tensor) -> Tensor:
    """Images in the memory format that is fastest on their device."""
    return x.contiguous(memory_format=memory_format(x.device)) if x.ndim == 4 else x


def _parameter(array: np.ndarray, device: torch.device) -> nn.Parameter:
    # torch shares memory with writable arrays only.
    tensor = torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(device)
    return nn.Parameter(laid_out(tensor), requires_grad=False)

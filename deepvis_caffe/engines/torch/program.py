"""A model's layers, built for a device and ready to run: ``(layer, bottoms) -> tops``."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deepvis_caffe.engines.rules import Rule, rule_for
from deepvis_caffe.engines.torch.device import memory_format
from deepvis_caffe.engines.torch.layers.combine import Concat
from deepvis_caffe.engines.torch.layers.convolution import Convolution
from deepvis_caffe.engines.torch.layers.dense import InnerProduct
from deepvis_caffe.engines.torch.layers.pooling import Pooling
from deepvis_caffe.engines.torch.ops import Op, Recorded
from deepvis_caffe.engines.torch.registry import Run, Setup, build, check_types
from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.shapes import RULES


class Program:
    """The layers of a model with their weights on a device.

    Parameters
    ----------
    model
        Graph and weights. On a CPU the weights' memory is shared with the model.
    device
        Where the layers run.

    Attributes
    ----------
    mode
        The backward mode of the pass that runs now; layers with a rule read it in their backward.

    Raises
    ------
    EngineError
        Layers of unknown types, all of them named at once.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        check_types(model.graph)
        self.device = device
        self.mode = "gradient"
        self._weight_shapes = {
            name: [tuple(blob.shape) for blob in blobs] for name, blobs in model.weights.items()
        }
        self._rules = [functools.partial(self._rule, layer) for layer in model.graph]
        self._runs = [self._build(layer, model) for layer in model.graph]

    def __call__(self, layer: Layer, bottoms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tops of a layer, recorded by autograd.

        Raises
        ------
        EngineError
            It cannot run on these bottoms: the layer's name and type, their shapes, and why.
        """
        try:
            tops = self._runs[layer.index](*bottoms)
        except (RuntimeError, IndexError) as error:
            raise cannot_run(layer, bottoms, error) from error
        return tops if isinstance(tops, tuple) else (tops,)

    def op(
        self, layer: Layer, few: bool = False, run: Run | None = None, joined: bool = False
    ) -> Op:
        """A layer for an ascent.

        Parameters
        ----------
        layer
            The layer.
        few
            Whether perhaps few channels of its top have a diff.
        run
            What runs it, if not the whole layer; see :meth:`narrowed`.
        joined
            Whether it takes what its bottom is joined of; see :meth:`joins`.
        """
        run = run or self._runs[layer.index]
        if isinstance(run, Convolution):
            return run.op(None, few, joined) or Recorded(run)
        return run if isinstance(run, Concat) else Recorded(run)

    def together(
        self,
        layer: Layer,
        after: Layer,
        few: bool = False,
        run: Run | None = None,
        joined: bool = False,
    ) -> Op | None:
        """A layer and the one that reads it as one, or None where there is no such op."""
        if max(len(layer.tops), len(after.tops)) > 1:
            return None
        first, second = run or self._runs[layer.index], self._runs[after.index]
        if isinstance(first, Convolution) and _plain_relu(after):
            return first.op(self._rules[after.index], few, joined)
        if isinstance(second, Pooling) and _plain_relu(layer):
            return second.op(self._rules[layer.index])
        return None

    def joins(self, concat: Layer, layer: Layer) -> bool:
        """Whether a layer may take the bottoms of the Concat that alone it reads."""
        first, second = self._runs[concat.index], self._runs[layer.index]
        along_channels = isinstance(first, Concat) and first.axis == 1
        return along_channels and isinstance(second, Convolution) and second.joins

    def narrowed(self, layer: Layer, channels: Sequence[int]) -> Run | None:
        """What computes only some channels of a layer's top; None where nothing does."""
        run = self._runs[layer.index]
        return run.narrowed(channels) if isinstance(run, Convolution | InnerProduct) else None

    def check(self, layer: Layer, bottoms: Sequence[Tensor], concat: Layer | None = None) -> None:
        """`EngineError` in words where a layer does not fit bottoms of these shapes.

        They are those of `concat`, if given, which the layer reads.
        """
        shapes = _shapes(bottoms)
        if concat:
            self.check(concat, bottoms)
            first, *_ = shapes
            shapes = [(first[0], sum(shape[1] for shape in shapes), *first[2:])]
        try:
            outcome = RULES[layer.type](layer.param, shapes) if layer.type in RULES else None
        except ModelError as error:
            raise EngineError(f"{_describe(layer, shapes)}: {error}") from error
        have = self._weight_shapes.get(layer.name, [])
        if outcome and list(outcome.weights) != have:
            raise EngineError(
                f"{_describe(layer, shapes)}: at this size it needs weights of shape "
                f"{', '.join(map(str, outcome.weights))}, it has {', '.join(map(str, have))}; an "
                "input of another size than the net was trained on does not fit through it"
            )

    def _rule(self, layer: Layer) -> Rule | None:
        return rule_for(layer, self.mode)

    def _build(self, layer: Layer, model: Model) -> Run:
        blobs = model.weights.get(layer.name, ())
        # Torch shares memory only with arrays that it may write to.
        writeable = [np.require(blob, np.float32, ["C", "W"]) for blob in blobs]
        weights = tuple(torch.from_numpy(blob).to(self.device) for blob in writeable)
        rule = self._rules[layer.index]
        return build(Setup(layer, weights, self.device, memory_format(self.device), rule))


def _plain_relu(layer: Layer) -> bool:
    return layer.type == "ReLU" and not layer.param.relu_param.negative_slope


def cannot_run(
    layer: Layer,
    bottoms: Sequence[Tensor],
    error: Exception,
    values: Sequence[Value] | None = None,
) -> EngineError:
    """Torch's error, running out of memory included, with the layer and its bottoms.

    Parameters
    ----------
    values
        What the bottoms are, if not the layer's own.
    """
    return EngineError(f"{_describe(layer, _shapes(bottoms), values)}: {error}")


def _shapes(bottoms: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(x.shape) for x in bottoms]


def _describe(
    layer: Layer, shapes: Sequence[tuple[int, ...]], values: Sequence[Value] | None = None
) -> str:
    pairs = zip(values or layer.bottoms, shapes, strict=True)
    came = ", ".join(f"{value.blob} {shape}" for value, shape in pairs)
    return f"layer {layer.name!r} ({layer.type}) cannot run on {came or 'no bottoms'}"

"""Recurrent layers, whose forward pass continues from the final state of the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from deepvis_caffe.caffe.operations import Addend, EngineOperation, operation
from deepvis_caffe.engines.torch.layer import Diffs, Tops
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import LayerParameter, Phase

STATES = {"LSTM": 2, "RNN": 1}


@operation(*STATES)
class Recurrent(EngineOperation):
    """A layer that keeps its state between passes, unless the prototxt exposes it as blobs.

    The engine's layer starts from zeros. This one passes the state to it, as with `expose_hidden`.
    """

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter], phase: Phase) -> None:
        self._count = 0 if layer.param.recurrent_param.expose_hidden else STATES[layer.type]
        self._state: Sequence[Tensor] = ()  # at the end of the last pass
        self._start: Sequence[Tensor] = ()  # at its start
        if self._count:
            param = LayerParameter()
            param.CopyFrom(layer.param)
            param.recurrent_param.expose_hidden = True
            param.bottom.extend(f"state {i} before" for i in range(self._count))
            param.top.extend(f"state {i} after" for i in range(self._count))
            bottoms, tops = (tuple(map(graph.Value, names)) for names in (param.bottom, param.top))
            layer = replace(layer, param=param, bottoms=bottoms, tops=tops)
        super().__init__(layer, weights, phase)

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        size = (1, bottoms[0].shape[1], self.layer.param.recurrent_param.num_output)
        if any(state.shape != size for state in self._state) or not self._state:
            self._state = [bottoms[0].new_zeros(size) for _ in range(self._count)]
        self._start = self._state
        tops = super().forward(*bottoms, *self._start)
        if self._count:
            tops, self._state = tops[: -self._count], tops[-self._count :]
        return tops

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        bottoms, tops, dys = self._with_state(bottoms, tops, dys)
        diffs = super().backward(bottoms, tops, dys, mode)
        states = STATES[self.layer.type]
        return [*diffs[:-states], *[None] * (states - self._count)]

    def unneeded(self, *args: Any) -> Diffs:
        """Caffe's layers compute diffs even for bottoms that need none."""
        return self.backward(*args)

    def weight_diffs(  # noqa: D102
        self, bottoms: Sequence[Tensor], dys: Sequence[Tensor]
    ) -> Sequence[Addend | None]:
        bottoms, _, dys = self._with_state(bottoms, (), dys)
        return super().weight_diffs(bottoms, dys)

    def _with_state(
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        """Append the states. No diff passes through them, between passes in either direction."""
        return (
            [*bottoms, *self._start],
            [*tops, *self._state],
            [dys[0], *map(torch.zeros_like, [*dys[1:], *self._state])],
        )

"""Recurrent layers: stock Caffe's LSTM and RNN, and the forks' Lstm and ContinuationIndicator.

A flag for each step and sequence tells whether the sequence continues; where it is 0 the state is
reset.

- LSTM, RNN: Donahue et al. 2015, "Long-term Recurrent Convolutional Networks".
- Lstm: J. Oh's caffe-lstm.
- ContinuationIndicator: crnn.caffe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.layer import Layer, Tops, one_or_all, register
from deepvis_caffe.model import graph


class _Recurrent(Layer):
    """Base class of LSTM and RNN: reads their bottoms and computes what does not recur."""

    states: int  # number of recurrent states

    def _read(
        self, bottoms: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """Gate inputs (T, N, gates), flags (T, N, 1), states (N, size), remaining weights."""
        x, flags, *more = bottoms
        exposed = self.param.recurrent_param.expose_hidden
        states = [state[0] for state in more[len(more) - self.states :]] if exposed else []
        static = more[: len(more) - len(states)]
        weights: list[Tensor] = list(self.parameters())
        w_x, bias, *others = weights
        gates = F.linear(x.flatten(2), w_x, bias)
        if static:
            gates = gates + F.linear(static[0].flatten(1), others.pop(0))
        if not states:
            size = self.param.recurrent_param.num_output
            states = [x.new_zeros(x.shape[1], size) for _ in range(self.states)]
        return gates, flags.detach()[..., None], states, others

    def _tops(self, steps: list[Tensor], states: list[Tensor]) -> Tensor | Tops:
        exposed = self.param.recurrent_param.expose_hidden
        return one_or_all([torch.stack(steps), *(state[None] for state in states if exposed)])


@register("LSTM")
class LSTM(_Recurrent):
    """``c = f c' + i g``, ``h = o tanh(c)``, with gates computed from x and the previous h."""

    blobs = ("weight", "bias", "blob2", "blob3")
    states = 2

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:  # noqa: D102
        gates, flags, (h, c), (w_h,) = self._read(bottoms)
        steps = []
        for at, goes_on in zip(gates, flags, strict=True):
            i, f, o, g = (at + F.linear(goes_on * h, w_h)).chunk(4, 1)
            c = goes_on * f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            steps.append(h)
        return self._tops(steps, [h, c])


@register("RNN")
class RNN(_Recurrent):
    """``h = tanh(W_h h' + W_x x + b)``, with top ``tanh(W_o h + b_o)``."""

    blobs = ("weight", "bias", "blob2", "blob3", "blob4", "blob5")
    states = 1

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:  # noqa: D102
        gates, flags, (h,), (w_h, w_o, bias_o) = self._read(bottoms)
        steps = []
        for at, goes_on in zip(gates, flags, strict=True):
            h = (at + F.linear(goes_on * h, w_h)).tanh()
            steps.append(F.linear(h, w_o, bias_o).tanh())
        return self._tops(steps, [h])


@register("Lstm")
class PackedLSTM(Layer):
    """An LSTM over (T * N, ...), step by step, with the batch size N from the prototxt.

    Without flags each pass starts from zeros. With flags the fork continues from the state at the
    end of the previous pass; here every pass starts from zeros.
    """

    blobs = ("weight_x", "weight_h", "bias")

    weight_x: Tensor
    weight_h: Tensor
    bias: Tensor

    def forward(self, x: Tensor, flags: Tensor | None = None) -> Tensor:  # noqa: D102
        options = self.param.lstm_param
        images = options.batch_size
        gates = F.linear(x.flatten(1), self.weight_x, self.bias).unflatten(0, (-1, images))
        if flags is None:
            on = x.new_ones(gates.shape[:2])
            on[0] = 0
        else:
            on = (flags.detach().reshape(-1, images) != 0).to(x)
        h = c = x.new_zeros(images, options.num_output)
        steps = []
        for at, goes_on in zip(gates, on[..., None], strict=True):
            i, f, o, g = (at + goes_on * F.linear(h, self.weight_h)).chunk(4, 1)
            c = goes_on * f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            steps.append(h)
        return torch.cat(steps)


@register("ContinuationIndicator")
class ContinuationIndicator(Layer):
    """Flags for sequences that start at the first step: a row of zeros, then ones."""

    flags: Tensor

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        options = layer.param.continuation_indicator_param
        flags = torch.ones(options.time_step, options.batch_size)
        flags[0] = 0
        self.register_buffer("flags", flags, persistent=False)

    def forward(self) -> Tensor:  # noqa: D102
        return self.flags

"""Python layers from modules that the user allows, run by their own code."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from deepvis_caffe.engines.torch.derived import Stamp
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, one_or_all, register
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model import graph
from deepvis_caffe.model.python_layers import ALLOWED, caller


@register(ALLOWED)
class PythonLayer(Layer):
    """A user's layer, run on numpy arrays.

    Its author expects a backward pass to follow its own forward pass, so before a backward pass
    through an older one, that forward pass runs again. A layer without a backward pass propagates
    no diff.
    """

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        self._stamps: tuple[Stamp, ...] = ()  # of the weights in its blobs
        self._alone: Any = None  # created once the shapes are known
        self._last: object = None  # identifies its last forward pass
        self._lock = Lock()

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:  # noqa: D102
        return one_or_all(_Call.apply(self, *bottoms))

    def infer(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        with self._lock:
            return self._run(bottoms)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the bottoms, the tops and the pass's identity."""
        with self._lock:
            tops = self._run(bottoms)
            return tops, (bottoms, tops, self._last)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The layer's own backward pass, in every mode."""
        bottoms, tops, which = saved
        with self._lock:
            if self._last is not which:
                self._run(bottoms)
                self._last = which
            if not self._alone.has_backward:
                return [None] * len(bottoms)
            found = [
                torch.zeros_like(top) if dy is None else dy
                for top, dy in zip(tops, dys, strict=True)
            ]
            try:
                diffs = self._alone.backward([_array(dy) for dy in found])
            except ModelError as error:
                raise self.cannot_run(bottoms, error) from error
        return [torch.tensor(diff, device=x.device) for diff, x in zip(diffs, bottoms, strict=True)]

    def check(self, bottoms: Sequence[Tensor]) -> None:
        """Nothing: its own code checks when it runs."""

    def _run(self, bottoms: Tops) -> Tops:
        self._last = None
        try:
            if self._alone is None:
                self._alone = caller(self.param).LayerAlone(
                    self.param, [tuple(x.shape) for x in bottoms]
                )
            self._take_weights()
            tops = self._alone.forward([_array(x) for x in bottoms])
        except ModelError as error:
            raise self.cannot_run(bottoms, error) from error
        self._last = object()
        return tuple(torch.tensor(top, device=bottoms[0].device) for top in tops)

    def _take_weights(self) -> None:
        """Copy the weights into its blobs, if they have changed."""
        weights = [weight for weight in self._parameters.values() if weight is not None]
        if not self._stamps or not all(map(Stamp.fits, self._stamps, weights)):
            for mine, given in zip(self._alone.weights, weights, strict=True):
                mine[...] = _array(given)
            self._stamps = tuple(map(Stamp, weights))


class _Call(torch.autograd.Function):
    """The layer as an autograd function."""

    @staticmethod
    def forward(ctx: Any, layer: PythonLayer, *bottoms: Tensor) -> Tops:
        tops, ctx.saved = layer.fwd(*bottoms)
        ctx.layer = layer
        return tops

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.layer.bwd(ctx.saved, dys, "gradient")


def _array(x: Tensor) -> Any:
    return x.detach().cpu().numpy()

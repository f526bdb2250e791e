"""A convolution of blobs side by side, without joining them: ``(x, x', ...) -> y``.

To convolve joined channels is to convolve each blob with its part of the filters, and to add. That
leaves out a copy of them all; and on the way back each blob's diff is in memory of its own, which
the gradient of the ReLU above it can be written into.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from deepvis_caffe.engines.torch.kernels import Convolution2d
from deepvis_caffe.engines.torch.ops import rectified
from deepvis_caffe.engines.torch.registry import RuleNow


class JoinedConvolutionOp:
    """A convolution of one group over joined images, and its ReLU, for an ascent.

    Parameters
    ----------
    layer
        The convolution, over all the channels.
    relu_rule
        The rule of the ReLU behind it; None where there is none.
    """

    def __init__(self, layer: Convolution2d, relu_rule: RuleNow | None) -> None:
        self._layer, self._rule = layer, relu_rule
        self._parts: list[Convolution2d] = []

    def forward(self, *bottoms: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """(N, C, H, W), (N, C', H, W), ... -> (N, O, OH, OW)."""
        if not self._parts:  # how many channels each has, the first images tell
            self._parts = self._layer.parts([x.shape[1] for x in bottoms])
        rectify, last = self._rule is not None, len(bottoms) - 1
        y = self._parts[0].forward(bottoms[0], rectify and not last)
        for place, x in enumerate(bottoms[1:], 1):
            y = self._parts[place].forward.add(y, x, rectify and place == last)
        return (y,), (y if self._rule else None, tuple(bottoms[0].shape[2:]))

    def backward(
        self, dys: Sequence[Tensor | None], saved: Any, own: bool
    ) -> tuple[list[Tensor], bool]:
        """The diff of each bottom, in memory of its own."""
        (dy,), (y, size) = dys, saved
        assert dy is not None
        if self._rule is not None:
            dy = rectified(dy, y, self._rule, own)
        return [part.backward(dy, size) for part in self._parts], True

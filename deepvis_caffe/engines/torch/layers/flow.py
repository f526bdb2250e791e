"""FlowNet's layers for optical flow: ``(a, b) -> y`` (N, C, H, W), from two images or maps.

Dosovitskiy et al. 2015, "FlowNet: Learning Optical Flow with Convolutional Networks"; Ilg et al.
2016, "FlowNet 2.0".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model.schema_pb2 import CorrelationParameter, FlowWarpParameter
from deepvis_caffe.model.shapes.flow import displacements


@register("Correlation")
class Correlation(Layer):
    """Correlation of windows of one map with displaced ones of another, a channel per displacement.

    The mean product of both windows, or for SUBTRACT their mean absolute difference.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        p, size = self.param.correlation_param, top_shapes(self, a, b)[0][2:]
        a, b = (F.pad(x, [p.pad] * 4) for x in (a, b))
        height, width = ((n - 1) * p.stride_1 + p.kernel_size for n in size)
        first, radius = p.max_displacement, displacements(self.param) // 2
        window = a[:, :, first : first + height, first : first + width]
        steps = [first + step * p.stride_2 for step in range(-radius, radius + 1)]
        fits = []
        for top in steps:
            for left in steps:
                moved = b[:, :, top : top + height, left : left + width]
                subtract = p.correlation_type == CorrelationParameter.SUBTRACT
                fit = (window - moved).abs() if subtract else window * moved
                fits.append(F.avg_pool2d(fit.mean(1, keepdim=True), p.kernel_size, p.stride_1))
        return torch.cat(fits, 1)


@register("FlowWarp")
class FlowWarp(Layer):
    """Bilinear sampling of the image where the flow points; 0 or NaN outside."""

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:  # noqa: D102
        height, width = image.shape[2:]
        x = torch.arange(width, device=flow.device) + flow[:, 0]
        y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y = (torch.where(inside, position, 0) for position in (x, y))
        left, top = x.detach().floor(), y.detach().floor()
        right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
        alpha, beta = (x - left)[:, None], (y - top)[:, None]

        def at(row: Tensor, column: Tensor) -> Tensor:
            position = (row * width + column).long().reshape(len(image), 1, -1)
            found = image.flatten(2).gather(2, position.expand(-1, image.shape[1], -1))
            return found.reshape(image.shape)

        upper = (1 - alpha) * at(top, left) + alpha * at(top, right)
        lower = (1 - alpha) * at(bottom, left) + alpha * at(bottom, right)
        fill = self.param.flow_warp_param.fill_value == FlowWarpParameter.NOT_A_NUMBER
        warped = (1 - beta) * upper + beta * lower
        return torch.where(inside[:, None], warped, float("nan") if fill else 0.0)

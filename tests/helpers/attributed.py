"""A small net for attribution, and a net up to one layer in the form that captum takes."""

from __future__ import annotations

from torch import Tensor, nn

from deepvis_caffe.engines.base import Net
from helpers.engine_nets import conv, layer, net_text, relu

TEXT = net_text(
    conv("conv1", "data", 6, 3, "pad: 1"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    conv("conv2", "pool1", 8, 3),
    relu("relu2", "conv2"),
    layer("ip", "InnerProduct", "conv2", "", "inner_product_param { num_output: 5 }"),
    layer("prob", "Softmax", "ip"),
    data=(1, 3, 12, 16),
)


class UpTo(nn.Module):
    """`net.module` as a function from images to the value of a layer, (N, units)."""

    def __init__(self, net: Net, name: str) -> None:
        super().__init__()
        self.net, self._seen = net.module, None
        self.net.layer(name).register_forward_hook(self._see)

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        return self._seen.flatten(1)

    def _see(self, module: nn.Module, bottoms: tuple[Tensor, ...], top: Tensor) -> None:
        self._seen = top

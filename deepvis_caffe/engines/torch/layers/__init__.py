"""Every layer type of the torch engine; importing this package registers them."""

from deepvis_caffe.engines.torch.layers import (
    activation,
    affine,
    batchnorm,
    combine,
    convolution,
    dense,
    elementwise,
    lrn,
    mvn,
    normalize,
    pooling,
    reduction,
    shape,
    source,
)

__all__ = [
    "activation",
    "affine",
    "batchnorm",
    "combine",
    "convolution",
    "dense",
    "elementwise",
    "lrn",
    "mvn",
    "normalize",
    "pooling",
    "reduction",
    "shape",
    "source",
]

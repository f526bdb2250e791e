"""Converts the forks' 3-D convolutions and poolings to stock Caffe's fields.

- Convolution3D, Deconvolution3D and Pooling3D of C3D (Tran et al. 2015, "Learning Spatiotemporal
  Features with 3D Convolutional Networks"): one size for height and width, and one for time, in
  ``convolution_param`` (version 1.0) or ``convolution3d_param`` (1.1). `filter_group` only saves
  memory.
- NdConvolution of video-caffe: ``kernel_shape``, ``stride_shape`` and ``pad_shape``.

Stock Caffe convolves along any number of axes, so the convolutions become stock layers. It pools
only images: poolings keep their types, and their sizes become ``kernel_shape`` and so on, as in
video-caffe's NdPooling.
"""

from __future__ import annotations

from deepvis_caffe.model.schema_pb2 import (
    Convolution3DParameter,
    ConvolutionParameter,
    LayerParameter,
    Pooling3DParameter,
    PoolingParameter,
)

# The fields that are rewritten, by message.
REWRITTEN = {
    "convolution_param": (
        *("kernel_depth", "temporal_stride", "temporal_pad", "filter_group"),
        *("kernel_shape", "stride_shape", "pad_shape"),
    ),
    "pooling_param": ("kernel_depth", "temporal_stride"),
}

TYPES = {
    "Convolution3D": "Convolution",
    "Deconvolution3D": "Deconvolution",
    "NdConvolution": "Convolution",
}
# Fields of another Pooling3D, Synopsys's, with separate sizes for each side.
_OTHERS = ("kernel_d", "stride_d", "pad_d0", "pad_d1", "pad_h0", "pad_h1", "pad_w0", "pad_w1")


def rewrite(layer: LayerParameter, faults: dict[str, str]) -> None:
    """Rewrite a 3-D layer in stock Caffe's fields.

    Parameters
    ----------
    layer
        In V2 form. Changed.
    faults
        If it cannot be expressed so, the reason is added here under its name.
    """
    if layer.type in TYPES:
        layer.type = TYPES[layer.type]
        _convolution(layer)
    elif layer.type != "Pooling3D":
        return
    else:
        three = layer.pooling3d_param
        if other := [name for name in _OTHERS if three.HasField(name)]:
            faults[layer.name] = (
                f"its {', '.join(other)} belong to Synopsys's Pooling3D, which is not supported; "
                "C3D's has kernel_size, kernel_depth, stride, temporal_stride and pad"
            )
            return
        _pooling(layer)
    for message, names in REWRITTEN.items():
        if layer.HasField(message):
            for name in names:
                getattr(layer, message).ClearField(name)


def _convolution(layer: LayerParameter) -> None:
    conv = layer.convolution_param
    if layer.HasField("convolution3d_param"):
        three = layer.convolution3d_param
        conv.num_output, conv.bias_term = three.num_output, three.bias_term
        _set_sizes(conv, three, three.kernel_size, three.stride, three.pad)
        layer.ClearField("convolution3d_param")
    elif conv.HasField("kernel_depth"):
        (kernel, *_), (stride, *_), (pad, *_) = (
            conv.kernel_size,
            conv.stride or [1],
            conv.pad or [0],
        )
        _set_sizes(conv, conv, kernel, stride, pad)
    elif conv.HasField("kernel_shape"):
        conv.kernel_size[:] = conv.kernel_shape.dim
        conv.stride[:] = conv.stride_shape.dim
        conv.pad[:] = conv.pad_shape.dim


def _set_sizes(
    conv: ConvolutionParameter,
    time: ConvolutionParameter | Convolution3DParameter,
    kernel: int,
    stride: int,
    pad: int,
) -> None:
    conv.kernel_size[:] = [time.kernel_depth, kernel, kernel]
    conv.stride[:] = [time.temporal_stride, stride, stride]
    conv.pad[:] = [time.temporal_pad, pad, pad]


def _pooling(layer: LayerParameter) -> None:
    pool = layer.pooling_param
    of_its_own = layer.HasField("pooling3d_param")
    three: PoolingParameter | Pooling3DParameter = layer.pooling3d_param if of_its_own else pool
    if of_its_own:
        pool.pool = PoolingParameter.PoolMethod.Value(
            Pooling3DParameter.PoolMethod.Name(layer.pooling3d_param.pool)
        )
    pool.kernel_shape.dim.extend([three.kernel_depth, three.kernel_size, three.kernel_size])
    pool.stride_shape.dim.extend([three.temporal_stride, three.stride, three.stride])
    pool.pad_shape.dim.extend([0, three.pad, three.pad])
    for name in ("kernel_size", "stride", "pad"):
        pool.ClearField(name)
    layer.ClearField("pooling3d_param")

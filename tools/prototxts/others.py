"""Nets for pairs, signals and video."""

from __future__ import annotations

from tools.prototxts.classification import alexnet_convolutions
from tools.prototxts.net import Net


def mnist_siamese() -> Net:
    """Two digits, one net for both."""
    net = Net(
        "mnist_siamese",
        "A siamese net, as in Caffe's MNIST example: Hadsell et al. 2006, \"Dimensionality "
        'Reduction by Learning an Invariant Mapping". Both branches have the same weights; feat '
        "and feat_p are close if the digits are the same. Layer names as in that example. Input: "
        "white digits on black, in 0 to 1 (raw_scale 1).",
    )
    for suffix in ("", "_p"):
        blob = net.input(1, 1, 28, 28, name=f"data{suffix}")
        for stage, outputs in ((1, 20), (2, 50)):
            name = f"conv{stage}"
            params = [f"{name}_w", f"{name}_b"]
            blob = net.conv(f"{name}{suffix}", blob, outputs, 5, params=params)
            blob = net.pool(f"pool{stage}{suffix}", blob, 2, 2)
        blob = net.fc(f"ip1{suffix}", blob, 500, params=["ip1_w", "ip1_b"])
        blob = net.relu(f"relu1{suffix}", blob)
        blob = net.fc(f"ip2{suffix}", blob, 10, params=["ip2_w", "ip2_b"])
        net.fc(f"feat{suffix}", blob, 2, params=["feat_w", "feat_b"])
    return net


def m11() -> Net:
    """Convolutions over time, for sound."""
    net = Net(
        "M11",
        'M11: Dai et al. 2017, "Very Deep Convolutional Neural Networks for Raw Waveforms", '
        "https://arxiv.org/abs/1610.00087, for ten classes of sounds of 4 s at 8 kHz. A signal is "
        "an image of one row. Layer names are ours; no Caffe weights are known.",
    )

    def conv(name: str, bottom: str, outputs: int, kernel: int, stride: int = 1) -> str:
        pad = (kernel - stride + 1) // 2
        blob = net.conv(
            name, bottom, outputs, (1, kernel), stride=(1, stride), pad=(0, pad), bias=False
        )
        blob = net.norm_scale(blob, f"{name}/bn", f"{name}/scale")
        return net.relu(f"{name}/relu", blob)

    def pool(stage: int, bottom: str) -> str:
        sizes = {"pool": "MAX", "kernel_h": 1, "kernel_w": 4, "stride_h": 1, "stride_w": 4}
        return net.layer(f"pool{stage}", "Pooling", bottom, pooling_param=sizes)

    blob = pool(1, conv("conv1", net.input(1, 1, 1, 32000), 64, 80, stride=4))
    for stage, (layers, outputs) in enumerate(((2, 64), (2, 128), (3, 256), (2, 512)), 2):
        for part in range(1, layers + 1):
            blob = conv(f"conv{stage}_{part}", blob, outputs, 3)
        if stage < 5:
            blob = pool(stage, blob)
    net.softmax(net.fc("fc", net.global_pool("pool5", blob), 10))
    return net


def c3d() -> Net:
    """Convolutions over time and space, for video."""
    net = Net(
        "C3D",
        'C3D: Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks", '
        "https://arxiv.org/abs/1412.0767, for the 487 classes of Sports-1M. Layer names, types and "
        "fields as in the authors' release for Caffe (version 1.0). Input: 16 frames, BGR, minus "
        "a mean clip.",
    )
    blob = net.input(1, 3, 16, 112, 112)
    for stage, (parts, outputs) in enumerate(
        (("a", 64), ("a", 128), ("ab", 256), ("ab", 512), ("ab", 512)), 1
    ):
        for part in parts:
            name = f"{stage}{part}"
            sizes = {"kernel_size": 3, "kernel_depth": 3, "pad": 1, "temporal_pad": 1}
            params = {"num_output": outputs, **sizes}
            blob = net.layer(f"conv{name}", "Convolution3D", blob, convolution_param=params)
            blob = net.relu(f"relu{name}", blob)
        depth = 1 if stage == 1 else 2
        sizes = {"kernel_size": 2, "kernel_depth": depth, "stride": 2, "temporal_stride": depth}
        blob = net.layer(f"pool{stage}", "Pooling3D", blob, pooling_param={"pool": "MAX"} | sizes)
    for number in (6, 7):
        blob = net.relu(f"relu{number}", net.fc(f"fc{number}-1", blob, 4096))
        blob = net.dropout(f"drop{number}", blob)
    net.softmax(net.fc("fc8-1", blob, 487))
    return net


def lrcn() -> Net:
    """A recurrent net over frames, for actions."""
    net = Net(
        "LRCN",
        'LRCN: Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual '
        'Recognition and Description", https://arxiv.org/abs/1411.4389, for the 101 actions of '
        "UCF101: CaffeNet on each of 16 frames, and an LSTM over them. Layer names from fc6 on as "
        "in the authors' release, whose convolutions are wider. Input: BGR, mean 104, 117, 123; "
        "clip_markers is 0 at the first frame of a clip and 1 at all others.",
    )
    frames, markers = net.input(16, 3, 227, 227), net.input(16, 1, name="clip_markers")
    blob = net.fc_relu_dropout(6, alexnet_convolutions(net, frames, norm_first=False))
    shape = {"shape": {"dim": [16, -1, 4096]}}
    blob = net.layer("reshape-data", "Reshape", blob, "fc6-reshape", reshape_param=shape)
    params = {"num_output": 256}
    blob = net.layer("lstm1", "LSTM", [blob, markers], recurrent_param=params)
    blob = net.layer("lstm1-drop", "Dropout", blob, dropout_param={"dropout_ratio": 0.5})
    net.layer("probs", "Softmax", net.fc("fc8-final", blob, 101, axis=2), softmax_param={"axis": 2})
    return net

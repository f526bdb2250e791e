"""Nets that label every pixel: FCN, SegNet, DeepLab and PSPNet."""

from __future__ import annotations

from tools.prototxts.classification import vgg_convolutions
from tools.prototxts.net import Net

FCN = (
    'Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", '
    "https://arxiv.org/abs/1411.4038, for the 21 classes of PASCAL VOC. Layer names as in the "
    "authors' release. Input: BGR, mean 104.00699, 116.66877, 122.67892; any size."
)


def _fcn(net: Net) -> str:
    """VGG-16 as convolutions, padded by 100 pixels so that no image is too small."""
    blob = vgg_convolutions(net, net.input(1, 3, 500, 500), first_pad=100)
    for number, kernel in ((6, 7), (7, 1)):
        blob = net.conv_relu(f"fc{number}", blob, 4096, kernel, relu=f"relu{number}")
        blob = net.dropout(f"drop{number}", blob)
    return net.conv("score_fr", blob, 21, 1)


def _upsample(net: Net, name: str, bottom: str, kernel: int, stride: int) -> str:
    return net.conv(name, bottom, 21, kernel, stride=stride, bias=False, type="Deconvolution")


def _crop(net: Net, name: str, bottom: str, like: str, offset: int) -> str:
    return net.layer(name, "Crop", [bottom, like], crop_param={"axis": 2, "offset": offset})


def fcn32s() -> Net:
    """FCN-32s: one step of upsampling."""
    net = Net("FCN-32s", f"FCN-32s: {FCN}")
    blob = _upsample(net, "upscore", _fcn(net), 64, 32)
    _crop(net, "score", blob, "data", 19)
    return net


def fcn8s() -> Net:
    """FCN-8s: with skip connections from pool3 and pool4."""
    net = Net("FCN-8s", f"FCN-8s: {FCN}")
    blob = _upsample(net, "upscore2", _fcn(net), 4, 2)
    for pool, offset, up, kernel, stride in (
        ("pool4", 5, "upscore_pool4", 4, 2),
        ("pool3", 9, "upscore8", 16, 8),
    ):
        skipped = net.conv(f"score_{pool}", pool, 21, 1)
        skipped = _crop(net, f"score_{pool}c", skipped, blob, offset)
        blob = _upsample(net, up, net.add(f"fuse_{pool}", [blob, skipped]), kernel, stride)
    _crop(net, "score", blob, "data", 31)
    return net


def segnet() -> Net:
    """SegNet for driving scenes."""
    net = Net(
        "segnet",
        'SegNet: Badrinarayanan et al. 2015, "SegNet: A Deep Convolutional Encoder-Decoder '
        'Architecture for Image Segmentation", https://arxiv.org/abs/1511.00561, for the 11 '
        "classes of CamVid. Layer names as in the authors' release, whose fork has BN and Upsample."
        " Input: BGR, 0 to 255, no mean.",
    )

    def conv(number: str, bottom: str, outputs: int) -> str:
        blob = net.conv(f"conv{number}", bottom, outputs, 3, pad=1)
        net.layer(f"conv{number}_bn", "BN", blob, blob, bn_param={"bn_mode": "INFERENCE"})
        return net.relu(f"relu{number}", blob)

    layers, channels = (2, 2, 3, 3, 3), (64, 128, 256, 512, 512)
    blob = net.input(1, 3, 360, 480)
    for stage in range(1, 6):
        for part in range(1, layers[stage - 1] + 1):
            blob = conv(f"{stage}_{part}", blob, channels[stage - 1])
        blob = net.pool(f"pool{stage}", blob, 2, 2, tops=[f"pool{stage}", f"pool{stage}_mask"])
    # Pooling rounds up 45 and 23 rows, so doubling gives a row too many: the size is given.
    sizes = {5: {"upsample_w": 30, "upsample_h": 23}, 4: {"upsample_w": 60, "upsample_h": 45}}
    for stage in range(5, 0, -1):
        blob = net.layer(
            f"upsample{stage}",
            "Upsample",
            [blob, f"pool{stage}_mask"],
            f"pool{stage}_D",
            upsample_param={"scale": 2, **sizes.get(stage, {})},
        )
        below = channels[max(stage - 2, 0)]
        for part in range(layers[stage - 1], 0, -1):
            if (stage, part) != (1, 1):
                outputs = channels[stage - 1] if part > 1 else below
                blob = conv(f"{stage}_{part}_D", blob, outputs)
    net.softmax(net.conv("conv1_1_D", blob, 11, 3, pad=1))
    return net


def deeplab_largefov() -> Net:
    """The first DeepLab with a large field of view."""
    net = Net(
        "DeepLab-LargeFOV",
        'DeepLab-LargeFOV: Chen et al. 2015, "Semantic Image Segmentation with Deep Convolutional '
        'Nets and Fully Connected CRFs", https://arxiv.org/abs/1412.7062, without its CRF, for the '
        "21 classes of PASCAL VOC. Layer names as in the authors' release; its field hole is "
        "dilation here, and its Interp is the fork's. Input: BGR, mean 104.008, 116.669, 122.675.",
    )
    sizes = {"kernel": 3, "pad": 1}
    pools = [{**sizes, "stride": 2}] * 3 + [{**sizes, "stride": 1}] * 2
    blob = vgg_convolutions(net, net.input(1, 3, 513, 513), last_dilation=2, pools=pools)
    blob = net.pool("pool5a", blob, 3, 1, pad=1, kind="AVE")
    blob = net.conv_relu("fc6", blob, 1024, 3, relu="relu6", pad=12, dilation=12)
    blob = net.dropout("drop6", blob)
    blob = net.dropout("drop7", net.conv_relu("fc7", blob, 1024, 1, relu="relu7"))
    blob = net.conv("fc8_voc12", blob, 21, 1)
    net.layer("fc8_interp", "Interp", blob, interp_param={"zoom_factor": 8})
    return net


def pspnet50() -> Net:
    """PSPNet over a dilated ResNet-50."""
    net = Net(
        "pspnet50_ADE20K",
        'PSPNet over ResNet-50: Zhao et al. 2017, "Pyramid Scene Parsing Network", '
        "https://arxiv.org/abs/1612.01105, for the 150 classes of ADE20K. Layer names as in the "
        "authors' release, whose fork has BN and Interp. Input: BGR, mean 103.939, 116.779, "
        "123.68.",
    )

    def norm(blob: str, relu: bool = True) -> str:
        net.layer(f"{blob}/bn", "BN", blob, blob)
        return net.relu(f"{blob}/relu", blob) if relu else blob

    def conv(name: str, bottom: str, outputs: int, kernel: int, **sizes: int) -> str:
        return net.conv(name, bottom, outputs, kernel, bias=False, **sizes)

    blob = norm(conv("conv1_1_3x3_s2", net.input(1, 3, 473, 473), 64, 3, stride=2, pad=1))
    blob = norm(conv("conv1_2_3x3", blob, 64, 3, pad=1))
    blob = norm(conv("conv1_3_3x3", blob, 128, 3, pad=1))
    blob = net.pool("pool1_3x3_s2", blob, 3, 2, pad=1)
    # ResNet-50, with dilations in place of the last two strides
    for stage, (blocks, stride, dilation) in enumerate(
        ((3, 1, 1), (4, 2, 1), (6, 1, 2), (3, 1, 4)), 2
    ):
        width = 32 << (stage - 1)
        for block in range(1, blocks + 1):
            name = f"conv{stage}_{block}"
            net.comment(f"Residual block {stage}_{block}")
            step = stride if block == 1 else 1
            inner = norm(conv(f"{name}_1x1_reduce", blob, width, 1, stride=step))
            inner = norm(conv(f"{name}_3x3", inner, width, 3, pad=dilation, dilation=dilation))
            inner = norm(conv(f"{name}_1x1_increase", inner, 4 * width, 1), relu=False)
            if block == 1:
                blob = conv(f"{name}_1x1_proj", blob, 4 * width, 1, stride=step)
                blob = norm(blob, relu=False)
            blob = net.relu(f"{name}/relu", net.add(name, [blob, inner]))
    net.comment("Pyramid pooling of 60 x 60 positions")
    pyramid = [blob]
    for bins, size in ((1, 60), (2, 30), (3, 20), (6, 10)):
        name = f"conv5_3_pool{bins}"
        pooled = net.pool(name, blob, size, size, kind="AVE")
        pooled = norm(conv(f"{name}_conv", pooled, 512, 1))
        sizes = {"height": 60, "width": 60}
        pyramid.insert(1, net.layer(f"{name}_interp", "Interp", pooled, interp_param=sizes))
    blob = norm(conv("conv5_4", net.concat("conv5_3_concat", pyramid), 512, 3, pad=1))
    blob = net.conv("conv6", net.dropout("conv5_4/dropout", blob, 0.1), 150, 1)
    net.layer("conv6_interp", "Interp", blob, interp_param={"zoom_factor": 8})
    return net

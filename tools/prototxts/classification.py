"""Nets that classify images: from LeNet to ShuffleNet, one function for each architecture."""

from __future__ import annotations

from collections.abc import Sequence

from tools.prototxts.net import Net

BGR_MEAN = "Input: BGR, mean 104, 117, 123."
BGR_MEAN_IMAGE = "Input: BGR, minus the ILSVRC 2012 mean image."
KRIZHEVSKY = (
    'Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks"'
)


def lenet() -> Net:
    """LeNet, as in Caffe's MNIST example."""
    net = Net(
        "LeNet",
        'LeNet: LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", with '
        "the sizes and layer names of Caffe's MNIST example: max pooling, and one ReLU. Input: "
        "white digits on black, in 0 to 1 (raw_scale 1).",
    )
    _lenet(net, channels=(20, 50), hidden=500)
    return net


def lenet_digits() -> Net:
    """The LeNet that ships with its weights."""
    net = Net(
        "LeNet-digits",
        "A small LeNet for the 8x8 digits of scikit-learn; weights/lenet_digits.caffemodel has its "
        "weights, and tools/train_digits.py made them. Input: white digits on black, in 0 to 1 "
        "(raw_scale 1).",
    )
    _lenet(net, channels=(16, 32), hidden=64)
    return net


def _lenet(net: Net, channels: tuple[int, int], hidden: int) -> None:
    blob = net.input(1, 1, 28, 28)
    for stage, outputs in enumerate(channels, 1):
        blob = net.conv(f"conv{stage}", blob, outputs, 5)
        blob = net.pool(f"pool{stage}", blob, 2, 2)
    blob = net.relu("relu1", net.fc("ip1", blob, hidden))
    net.softmax(net.fc("ip2", blob, 10))


def alexnet() -> Net:
    """AlexNet as a single column."""
    net = Net(
        "AlexNet",
        f"BVLC AlexNet: {KRIZHEVSKY}, in one column, normalization before pooling. Layer names as "
        f"in the Caffe model zoo. {BGR_MEAN_IMAGE}",
    )
    _alexnet(net, norm_first=True)
    return net


def caffenet() -> Net:
    """BVLC's reference net."""
    net = Net(
        "CaffeNet",
        f"BVLC reference CaffeNet: the net of {KRIZHEVSKY}, in one column, with pooling before "
        "normalization (Jia et al. 2014, https://arxiv.org/abs/1408.5093). Layer names as in the "
        f"Caffe model zoo. {BGR_MEAN_IMAGE}",
    )
    _alexnet(net, norm_first=False)
    return net


def caffenet_yos() -> Net:
    """The net of the paper that this package follows."""
    net = Net(
        "CaffeNet",
        'CaffeNet as in Yosinski et al. 2015, "Understanding Neural Networks Through Deep '
        'Visualization", https://arxiv.org/abs/1506.06579: one-column AlexNet with LRN after '
        "pooling. Layer names as in the paper's Deep Visualization Toolbox. " + BGR_MEAN_IMAGE,
    )
    _alexnet(net, norm_first=False)
    return net


def _alexnet(net: Net, norm_first: bool) -> None:
    blob = alexnet_convolutions(net, net.input(1, 3, 227, 227), norm_first)
    for number in (6, 7):
        blob = net.fc_relu_dropout(number, blob)
    net.softmax(net.fc("fc8", blob, 1000))


def alexnet_convolutions(net: Net, blob: str, norm_first: bool) -> str:
    """conv1 to pool5 of AlexNet; returns pool5."""
    rows: list[tuple[int, int, dict[str, int]]] = [
        (96, 11, {"stride": 4}),
        (256, 5, {"pad": 2, "group": 2}),
        (384, 3, {"pad": 1}),
        (384, 3, {"pad": 1, "group": 2}),
        (256, 3, {"pad": 1, "group": 2}),
    ]
    for stage, (outputs, kernel, sizes) in enumerate(rows, 1):
        blob = net.conv_relu(f"conv{stage}", blob, outputs, kernel, relu=f"relu{stage}", **sizes)
        if stage in (1, 2) and norm_first:
            blob = net.pool(f"pool{stage}", net.lrn(f"norm{stage}", blob), 3, 2)
        elif stage in (1, 2):
            blob = net.lrn(f"norm{stage}", net.pool(f"pool{stage}", blob, 3, 2))
    return net.pool("pool5", blob, 3, 2)


def zfnet() -> Net:
    """The net of the first paper that visualized nets with deconvnets."""
    net = Net(
        "ZFNet",
        'ZFNet: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", '
        "https://arxiv.org/abs/1311.2901, with the maps of its Figure 3. Layer names as AlexNet's; "
        f"no weights were published for them. {BGR_MEAN}",
    )
    blob = net.input(1, 3, 224, 224)
    blob = net.conv_relu("conv1", blob, 96, 7, relu="relu1", stride=2, pad=1)
    blob = net.lrn("norm1", net.pool("pool1", blob, 3, 2))
    blob = net.conv_relu("conv2", blob, 256, 5, relu="relu2", stride=2)
    blob = net.lrn("norm2", net.pool("pool2", blob, 3, 2))
    for stage, outputs in ((3, 384), (4, 384), (5, 256)):
        blob = net.conv_relu(f"conv{stage}", blob, outputs, 3, relu=f"relu{stage}", pad=1)
    blob = net.pool("pool5", blob, 3, 2)
    for number in (6, 7):
        blob = net.fc_relu_dropout(number, blob)
    net.softmax(net.fc("fc8", blob, 1000))
    return net


def nin() -> Net:
    """Network in Network."""
    net = Net(
        "nin_imagenet",
        'Network in Network for ImageNet: Lin et al. 2013, "Network In Network", '
        "https://arxiv.org/abs/1312.4400. Layer names as in the authors' release in the Caffe "
        f"model zoo. {BGR_MEAN}",
    )
    blob = net.input(1, 3, 224, 224)
    # The release's irregular names and its numbers: (layer, its ReLU, outputs, kernel)
    stages: list[tuple[str, dict[str, int], Sequence[tuple[str, str, int, int]]]] = [
        (
            "pool0",
            {"stride": 4},
            [("conv1", "relu0", 96, 11), ("cccp1", "relu1", 96, 1), ("cccp2", "relu2", 96, 1)],
        ),
        (
            "pool2",
            {"pad": 2},
            [("conv2", "relu3", 256, 5), ("cccp3", "relu5", 256, 1), ("cccp4", "relu6", 256, 1)],
        ),
        (
            "pool3",
            {"pad": 1},
            [("conv3", "relu7", 384, 3), ("cccp5", "relu8", 384, 1), ("cccp6", "relu9", 384, 1)],
        ),
        (
            "",
            {"pad": 1},
            [
                ("conv4-1024", "relu10", 1024, 3),
                ("cccp7-1024", "relu11", 1024, 1),
                ("cccp8-1024", "relu12", 1000, 1),
            ],
        ),
    ]
    for pool, sizes, layers in stages:
        for name, relu, outputs, kernel in layers:
            more = sizes if name.startswith("conv") else {}
            top = name.removesuffix("-1024")  # which only names of layers have, not those of blobs
            blob = net.conv_relu(name, blob, outputs, kernel, relu=relu, top=top, **more)
        blob = net.pool(pool, blob, 3, 2) if pool else blob
        blob = net.dropout("drop", blob) if pool == "pool3" else blob
    net.softmax(net.global_pool("pool4", blob))
    return net


VGG_STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
VGG_CHANNELS = (64, 128, 256, 512, 512)


def vgg(depth: int) -> Net:
    """VGG-16 and VGG-19."""
    configuration = {16: "D", 19: "E"}[depth]
    net = Net(
        f"VGG_ILSVRC_{depth}_layers",
        f"VGG-{depth} (configuration {configuration}): Simonyan and Zisserman 2014, "
        '"Very Deep Convolutional Networks for Large-Scale Image Recognition", '
        "https://arxiv.org/abs/1409.1556. Layer names as in the authors' release. Input: BGR, mean "
        "103.939, 116.779, 123.68.",
    )
    blob = vgg_convolutions(net, net.input(1, 3, 224, 224), depth)
    for number in (6, 7):
        blob = net.fc_relu_dropout(number, blob)
    net.softmax(net.fc("fc8", blob, 1000))
    return net


def vgg_convolutions(
    net: Net,
    blob: str,
    depth: int = 16,
    *,
    first_pad: int = 1,
    last_dilation: int = 1,
    pools: Sequence[dict[str, int]] = ({"kernel": 2, "stride": 2},) * 5,
) -> str:
    """conv1_1 to the last pooling of VGG; nets based on it change padding and pooling."""
    for stage, (layers, outputs) in enumerate(zip(VGG_STAGES[depth], VGG_CHANNELS, strict=True), 1):
        dilation = last_dilation if stage == 5 else 1
        for part in range(1, layers + 1):
            number = f"{stage}_{part}"
            pad = first_pad if number == "1_1" else dilation
            blob = net.conv_relu(
                f"conv{number}", blob, outputs, 3, relu=f"relu{number}", pad=pad, dilation=dilation
            )
        if stage <= len(pools):
            blob = net.pool(f"pool{stage}", blob, **pools[stage - 1])
    return blob


def googlenet() -> Net:
    """GoogLeNet without its auxiliary classifiers."""
    net = Net(
        "GoogleNet",
        'GoogLeNet: Szegedy et al. 2015, "Going Deeper with Convolutions", '
        "https://arxiv.org/abs/1409.4842, without its two auxiliary classifiers. Layer names as in "
        f"BVLC's release in the Caffe model zoo. {BGR_MEAN}",
    )
    blob = net.input(1, 3, 224, 224)
    blob = net.conv_relu("conv1/7x7_s2", blob, 64, 7, relu="conv1/relu_7x7", stride=2, pad=3)
    blob = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", blob, 3, 2))
    blob = net.conv_relu("conv2/3x3_reduce", blob, 64, 1, relu="conv2/relu_3x3_reduce")
    blob = net.conv_relu("conv2/3x3", blob, 192, 3, relu="conv2/relu_3x3", pad=1)
    blob = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", blob), 3, 2)
    # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, projection of the pooling: the paper's Table 1
    modules = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    for module, channels in modules.items():
        net.comment(f"Inception module {module}")
        blob = _inception(net, f"inception_{module}", blob, channels)
        if module in ("3b", "4e"):
            blob = net.pool(f"pool{int(module[0])}/3x3_s2", blob, 3, 2)
    net.comment("Classifier")
    blob = net.pool("pool5/7x7_s1", blob, 7, 1, kind="AVE")
    blob = net.dropout("pool5/drop_7x7_s1", blob, 0.4)
    net.softmax(net.fc("loss3/classifier", blob, 1000))
    return net


def _inception(net: Net, name: str, bottom: str, channels: Sequence[int]) -> str:
    ones, reduce3, threes, reduce5, fives, projected = channels

    def part(size: str, blob: str, outputs: int, kernel: int, pad: int = 0) -> str:
        sizes = {"pad": pad} if pad else {}
        relu = f"{name}/relu_{size}"
        return net.conv_relu(f"{name}/{size}", blob, outputs, kernel, relu=relu, **sizes)

    branches = [
        part("1x1", bottom, ones, 1),
        part("3x3", part("3x3_reduce", bottom, reduce3, 1), threes, 3, 1),
        part("5x5", part("5x5_reduce", bottom, reduce5, 1), fives, 5, 2),
    ]
    pooled = net.pool(f"{name}/pool", bottom, 3, 1, pad=1)
    branches.append(part("pool_proj", pooled, projected, 1))
    return net.concat(f"{name}/output", branches)


RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(depth: int) -> Net:
    """ResNet-50, -101 and -152."""
    net = Net(
        f"ResNet-{depth}",
        f'ResNet-{depth}: He et al. 2015, "Deep Residual Learning for Image Recognition", '
        "https://arxiv.org/abs/1512.03385. Layer names as in the authors' release: the stride sits "
        "in each stage's first 1x1 convolutions, and batch normalization is a BatchNorm followed "
        "by a Scale. Input: BGR, minus a mean image.",
        global_stats=True,
    )
    blob = net.input(1, 3, 224, 224)
    # The authors' conv1 has a bias in ResNet-50 only.
    blob = net.conv("conv1", blob, 64, 7, stride=2, pad=3, bias=depth == 50)
    blob = net.relu("conv1_relu", net.norm_scale(blob, "bn_conv1", "scale_conv1"))
    blob = net.pool("pool1", blob, 3, 2)
    for stage, blocks in enumerate(RESNET_BLOCKS[depth], 2):
        for index in range(blocks):
            name = f"{stage}{_block_name(depth, stage, index)}"
            net.comment(f"Residual block {name}")
            stride = 2 if index == 0 and stage > 2 else 1
            blob = _bottleneck(net, name, blob, 64 << (stage - 2), stride, project=index == 0)
    net.comment("Classifier")
    blob = net.pool("pool5", blob, 7, 1, kind="AVE")
    net.softmax(net.fc("fc1000", blob, 1000))
    return net


def _block_name(depth: int, stage: int, index: int) -> str:
    """a, b, c, ... in ResNet-50 and in short stages; a, b1, b2, ... in the long ones."""
    if depth == 50 or stage in (2, 5):
        return "abcdef"[index]
    return f"b{index}" if index else "a"


def _bottleneck(net: Net, name: str, bottom: str, width: int, stride: int, project: bool) -> str:
    def part(branch: str, blob: str, outputs: int, kernel: int, stride: int = 1) -> str:
        blob = net.conv(
            f"res{name}_{branch}",
            blob,
            outputs,
            kernel,
            stride=stride,
            pad=kernel // 2,
            bias=False,
        )
        return net.norm_scale(blob, f"bn{name}_{branch}", f"scale{name}_{branch}")

    shortcut = part("branch1", bottom, 4 * width, 1, stride) if project else bottom
    blob = net.relu(f"res{name}_branch2a_relu", part("branch2a", bottom, width, 1, stride))
    blob = net.relu(f"res{name}_branch2b_relu", part("branch2b", blob, width, 3))
    blob = net.add(f"res{name}", [shortcut, part("branch2c", blob, 4 * width, 1)])
    return net.relu(f"res{name}_relu", blob)


def squeezenet(version: str) -> Net:
    """SqueezeNet 1.0 and 1.1."""
    net = Net(
        "SqueezeNet",
        f'SqueezeNet v{version}: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x '
        'fewer parameters and <0.5MB model size", https://arxiv.org/abs/1602.07360. Layer names as '
        f"in the authors' release, so that its weights match by name. {BGR_MEAN}",
    )
    first, pools = {"1.0": ((96, 7), (1, 4, 8)), "1.1": ((64, 3), (1, 3, 5))}[version]
    blob = net.input(1, 3, 227, 227)
    blob = net.conv_relu("conv1", blob, *first, relu="relu_conv1", stride=2)
    blob = net.pool("pool1", blob, 3, 2)
    channels = (16, 16, 32, 32, 48, 48, 64, 64)
    for module, squeeze in enumerate(channels, 2):
        net.comment(
            f"Fire module {module}: squeeze to {squeeze} channels, expand to 2 x {4 * squeeze}"
        )
        blob = _fire(net, f"fire{module}", blob, squeeze)
        if module in pools:
            blob = net.pool(f"pool{module}", blob, 3, 2)
    net.comment("Classifier")
    blob = net.dropout("drop9", blob)
    # The release of 1.0 pads it, so that the final mean includes a border of biases.
    padded = {"pad": 1} if version == "1.0" else {}
    blob = net.conv_relu("conv10", blob, 1000, 1, relu="relu_conv10", **padded)
    net.softmax(net.global_pool("pool10", blob))
    return net


def _fire(net: Net, name: str, bottom: str, squeeze: int) -> str:
    def part(kind: str, blob: str, outputs: int, kernel: int, **sizes: int) -> str:
        relu = f"{name}/relu_{kind}"
        return net.conv_relu(f"{name}/{kind}", blob, outputs, kernel, relu=relu, **sizes)

    blob = part("squeeze1x1", bottom, squeeze, 1)
    ones = part("expand1x1", blob, 4 * squeeze, 1)
    threes = part("expand3x3", blob, 4 * squeeze, 3, pad=1)
    return net.concat(f"{name}/concat", [ones, threes])


SHICAI = "Input: BGR, mean 103.94, 116.78, 123.68, then times 0.017 (input_scale)."


def densenet121() -> Net:
    """DenseNet-121."""
    net = Net(
        "DENSENET_121",
        'DenseNet-121: Huang et al. 2017, "Densely Connected Convolutional Networks", '
        "https://arxiv.org/abs/1608.06993. Layer names as in the release of S. Huang for Caffe "
        f"(DenseNet-Caffe). {SHICAI}",
        eps=1e-5,
    )

    def norm_relu(name: str, relu: str, bottom: str) -> str:
        blob = net.norm_scale(bottom, f"{name}/bn", f"{name}/scale", f"{name}/bn")
        return net.relu(relu, blob)

    blob = net.conv("conv1", net.input(1, 3, 224, 224), 64, 7, stride=2, pad=3, bias=False)
    # To 56 rows; Caffe 1.0 without round_mode has 57.
    blob = net.pool("pool1", norm_relu("conv1", "relu1", blob), 3, 2, pad=1, round_mode="FLOOR")
    channels, growth = 64, 32
    for stage, layers in enumerate((6, 12, 24, 16), 2):
        net.comment(f"Dense block {stage - 1}: {layers} layers")
        for part in range(1, layers + 1):
            number = f"{stage}_{part}"
            inner = norm_relu(f"conv{number}/x1", f"relu{number}/x1", blob)
            inner = net.conv(f"conv{number}/x1", inner, 4 * growth, 1, bias=False)
            inner = norm_relu(f"conv{number}/x2", f"relu{number}/x2", inner)
            inner = net.conv(f"conv{number}/x2", inner, growth, 3, pad=1, bias=False)
            blob = net.concat(f"concat_{number}", [blob, inner])
        channels += layers * growth
        blob = norm_relu(f"conv{stage}_blk", f"relu{stage}_blk", blob)
        if stage < 5:
            channels //= 2
            blob = net.conv(f"conv{stage}_blk", blob, channels, 1, bias=False)
            blob = net.pool(f"pool{stage}", blob, 2, 2, kind="AVE")
    net.comment("Classifier")
    net.softmax(net.conv("fc6", net.global_pool("pool5", blob), 1000, 1))
    return net


def mobilenet_v1() -> Net:
    """MobileNet v1."""
    net = Net(
        "MOBILENET",
        'MobileNet v1: Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks '
        'for Mobile Vision Applications", https://arxiv.org/abs/1704.04861, width 1. Layer names '
        f"as in the release of S. Huang for Caffe (MobileNet-Caffe). {SHICAI}",
        eps=1e-5,
    )

    def conv_norm_relu(name: str, bottom: str, outputs: int, kernel: int, **sizes: int) -> str:
        blob = net.conv(name, bottom, outputs, kernel, bias=False, pad=kernel // 2, **sizes)
        blob = net.norm_scale(blob, f"{name}/bn", f"{name}/scale")
        return net.relu(name.replace("conv", "relu"), blob)

    blob = conv_norm_relu("conv1", net.input(1, 3, 224, 224), 32, 3, stride=2)
    channels = 32
    rows = [("2_1", 64, 1), ("2_2", 128, 2), ("3_1", 128, 1), ("3_2", 256, 2), ("4_1", 256, 1)]
    rows += [("4_2", 512, 2), *((f"5_{part}", 512, 1) for part in range(1, 6)), ("5_6", 1024, 2)]
    for name, outputs, stride in [*rows, ("6", 1024, 1)]:
        blob = conv_norm_relu(f"conv{name}/dw", blob, channels, 3, stride=stride, group=channels)
        blob = conv_norm_relu(f"conv{name}/sep", blob, outputs, 1)
        channels = outputs
    net.softmax(net.conv("fc7", net.global_pool("pool6", blob), 1000, 1))
    return net


def mobilenet_v2() -> Net:
    """MobileNet v2."""
    net = Net(
        "MOBILENET_V2",
        'MobileNet v2: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear '
        'Bottlenecks", https://arxiv.org/abs/1801.04381, width 1. Layer names as in the release of '
        f"S. Huang for Caffe (MobileNet-Caffe), and as there ReLU where the paper has ReLU6. "
        f"{SHICAI}",
        eps=1e-5,
    )

    def conv_norm(name: str, bottom: str, outputs: int, kernel: int, **sizes: int) -> str:
        blob = net.conv(name, bottom, outputs, kernel, bias=False, pad=kernel // 2, **sizes)
        return net.norm_scale(blob, f"{name}/bn", f"{name}/scale", f"{name}/bn")

    def conv_norm_relu(name: str, bottom: str, outputs: int, kernel: int, **sizes: int) -> str:
        blob = conv_norm(name, bottom, outputs, kernel, **sizes)
        return net.relu(name.replace("conv", "relu"), blob)

    blob = conv_norm_relu("conv1", net.input(1, 3, 224, 224), 32, 3, stride=2)
    channels = 32
    # Strides of the release and of the paper's first version: 64 channels have 28 x 28 positions.
    rows = [("2_1", 1, 16, 1), ("2_2", 6, 24, 2), ("3_1", 6, 24, 1), ("3_2", 6, 32, 2)]
    rows += [("4_1", 6, 32, 1), ("4_2", 6, 32, 1), ("4_3", 6, 64, 1)]
    rows += [(f"4_{part}", 6, 64, 1) for part in (4, 5, 6)]
    rows += [("4_7", 6, 96, 2)]
    rows += [(f"5_{part}", 6, 96, 1) for part in (1, 2)]
    rows += [("5_3", 6, 160, 2), ("6_1", 6, 160, 1), ("6_2", 6, 160, 1), ("6_3", 6, 320, 1)]
    for name, factor, outputs, stride in rows:
        net.comment(f"Inverted residual block {name}")
        hidden = channels * factor
        inner = conv_norm_relu(f"conv{name}/expand", blob, hidden, 1)
        inner = conv_norm_relu(f"conv{name}/dwise", inner, hidden, 3, stride=stride, group=hidden)
        inner = conv_norm(f"conv{name}/linear", inner, outputs, 1)
        residual = stride == 1 and channels == outputs
        blob = net.add(f"block_{name}", [blob, inner]) if residual else inner
        channels = outputs
    net.comment("Classifier")
    blob = conv_norm_relu("conv6_4", blob, 1280, 1)
    net.softmax(net.conv("fc7", net.global_pool("pool6", blob), 1000, 1))
    return net


def shufflenet_g3() -> Net:
    """ShuffleNet v1 with three groups."""
    net = Net(
        "shufflenet",
        'ShuffleNet v1, 1x, 3 groups: Zhang et al. 2018, "ShuffleNet: An Extremely Efficient '
        'Convolutional Neural Network for Mobile Devices", https://arxiv.org/abs/1707.01083. Layer '
        "names as in the release for Caffe by farmingyard (ShuffleNet); ShuffleChannel and "
        f"ConvolutionDepthwise are that fork's. {SHICAI}",
    )

    def norm_relu(blob: str, relu: bool = True) -> str:
        blob = net.norm_scale(blob, f"{blob}_bn", f"{blob}_scale")
        return net.relu(f"{blob}_relu", blob) if relu else blob

    blob = norm_relu(
        net.conv("conv1", net.input(1, 3, 224, 224), 24, 3, stride=2, pad=1, bias=False)
    )
    blob = net.pool("pool1", blob, 3, 2)
    channels, unit = 24, 0
    for stage, (units, outputs) in enumerate(((4, 240), (8, 480), (4, 960)), 2):
        for index in range(units):
            unit += 1
            net.comment(f"Stage {stage}, unit {index + 1}")
            name, stride = f"resx{unit}", 1 if index else 2
            added = outputs if index else outputs - channels
            width = added // 4
            first = unit == 1  # the first of all has too few input channels to group and shuffle
            inner = net.conv(f"{name}_conv1", blob, width, 1, group=1 if first else 3, bias=False)
            inner = norm_relu(inner)
            if not first:
                inner = net.layer(
                    f"shuffle{unit}", "ShuffleChannel", inner, shuffle_channel_param={"group": 3}
                )
            inner = net.conv(
                f"{name}_conv2",
                inner,
                width,
                3,
                stride=stride,
                pad=1,
                group=width,
                bias=False,
                type="ConvolutionDepthwise",
            )
            inner = norm_relu(inner, relu=False)
            inner = net.conv(f"{name}_conv3", inner, added, 1, group=3, bias=False)
            inner = norm_relu(inner, relu=False)
            if index:
                blob = net.add(f"{name}_elewise", [blob, inner])
            else:
                pooled = net.pool(f"{name}_match_conv", blob, 3, 2, kind="AVE")
                blob = net.concat(f"{name}_concat", [pooled, inner])
            blob = net.relu(f"{blob}_relu", blob)
            channels = outputs
    net.comment("Classifier")
    net.softmax(net.conv("fc1000", net.global_pool("pool_ave", blob), 1000, 1))
    return net


def sketch_a_net() -> Net:
    """A net for gray images."""
    net = Net(
        "Sketch-a-Net",
        'Sketch-a-Net: Yu et al. 2015, "Sketch-a-Net that Beats Humans", '
        "https://arxiv.org/abs/1501.07873, for one image: gray, 250 classes of sketches. Layer "
        "names are ours; no Caffe weights are known. Input: one channel of 0 to 255.",
    )
    blob = net.input(1, 1, 225, 225)
    blob = net.pool("pool1", net.conv_relu("conv1", blob, 64, 15, relu="relu1", stride=3), 3, 2)
    blob = net.pool("pool2", net.conv_relu("conv2", blob, 128, 5, relu="relu2"), 3, 2)
    for stage in (3, 4, 5):
        blob = net.conv_relu(f"conv{stage}", blob, 256, 3, relu=f"relu{stage}", pad=1)
    blob = net.pool("pool5", blob, 3, 2)
    for stage, kernel in ((6, 7), (7, 1)):
        blob = net.conv_relu(f"conv{stage}", blob, 512, kernel, relu=f"relu{stage}")
        blob = net.dropout(f"drop{stage}", blob)
    net.softmax(net.conv("conv8", blob, 250, 1))
    return net

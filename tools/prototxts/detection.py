"""Nets that detect objects: SSD, Faster R-CNN and YOLO v2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.prototxts.classification import vgg_convolutions
from tools.prototxts.net import Net


@dataclass(frozen=True)
class Head:
    """A map that SSD predicts boxes from, and the boxes (in pixels) at each of its positions."""

    blob: str
    min_size: int
    max_size: int
    ratios: Sequence[int]
    step: int

    @property
    def boxes(self) -> int:
        """A small and a large square, and two boxes for each aspect ratio."""
        return 2 + 2 * len(self.ratios)


def _ssd_output(
    net: Net,
    heads: Sequence[Head],
    classes: int,
    names: Sequence[str],
    **output: float,
) -> None:
    """The concatenated predictions of all heads, and the DetectionOutput layer."""
    joined: dict[str, list[str]] = {"loc": [], "conf": [], "priorbox": []}
    for head, name in zip(heads, names, strict=True):
        net.comment(f"Boxes of {head.blob}")
        for kind, values in (("loc", 4), ("conf", classes)):
            mbox = f"{name}_mbox_{kind}"
            blob = net.conv(mbox, head.blob, head.boxes * values, 3, pad=1)
            order = {"order": [0, 2, 3, 1]}  # so that the values of one box are adjacent
            blob = net.layer(f"{mbox}_perm", "Permute", blob, permute_param=order)
            blob = net.layer(f"{mbox}_flat", "Flatten", blob, flatten_param={"axis": 1})
            joined[kind].append(blob)
        prior = {
            "min_size": head.min_size,
            "max_size": head.max_size,
            "aspect_ratio": head.ratios,
            "flip": True,
            "clip": False,
            "variance": [0.1, 0.1, 0.2, 0.2],
            "step": head.step,
            "offset": 0.5,
        }
        joined["priorbox"].append(
            net.layer(
                f"{name}_mbox_priorbox", "PriorBox", [head.blob, "data"], prior_box_param=prior
            )
        )
    net.comment("Detections")
    loc = net.concat("mbox_loc", joined["loc"], axis=1)
    conf = net.concat("mbox_conf", joined["conf"], axis=1)
    prior_boxes = net.concat("mbox_priorbox", joined["priorbox"], axis=2)
    shape = {"shape": {"dim": [0, -1, classes]}}
    conf = net.layer("mbox_conf_reshape", "Reshape", conf, reshape_param=shape)
    conf = net.layer("mbox_conf_softmax", "Softmax", conf, softmax_param={"axis": 2})
    conf = net.layer("mbox_conf_flatten", "Flatten", conf, flatten_param={"axis": 1})
    net.layer(
        "detection_out",
        "DetectionOutput",
        [loc, conf, prior_boxes],
        detection_output_param={
            "num_classes": classes,
            "share_location": True,
            "background_label_id": 0,
            "nms_param": {"nms_threshold": 0.45, "top_k": 400},
            "code_type": "CENTER_SIZE",
            **output,
        },
    )


def _normalize(net: Net, bottom: str) -> str:
    """The L2 normalization of ParseNet, with a factor for each channel."""
    filler = {"type": "constant", "value": 20}
    params = {"across_spatial": False, "scale_filler": filler, "channel_shared": False}
    return net.layer("conv4_3_norm", "Normalize", bottom, norm_param=params)


def ssd300_vgg() -> Net:
    """SSD of 300 x 300 pixels over VGG-16."""
    net = Net(
        "VGG_VOC0712_SSD_300x300_deploy",
        'SSD300: Liu et al. 2016, "SSD: Single Shot MultiBox Detector", '
        "https://arxiv.org/abs/1512.02325, over VGG-16, for the 20 classes of PASCAL VOC. Layer "
        "names as in the authors' release. Input: BGR, mean 104, 117, 123.",
    )
    pools = [{"kernel": 2, "stride": 2}] * 4 + [{"kernel": 3, "stride": 1, "pad": 1}]
    blob = vgg_convolutions(net, net.input(1, 3, 300, 300), pools=pools)
    blob = net.conv_relu("fc6", blob, 1024, 3, relu="relu6", pad=6, dilation=6)
    blob = net.conv_relu("fc7", blob, 1024, 1, relu="relu7")
    for stage, outputs, sizes in (
        (6, 512, {"pad": 1, "stride": 2}),
        (7, 256, {"pad": 1, "stride": 2}),
        (8, 256, {}),
        (9, 256, {}),
    ):
        name = f"conv{stage}_1"
        blob = net.conv_relu(name, blob, outputs // 2, 1, relu=f"{name}_relu")
        name = f"conv{stage}_2"
        blob = net.conv_relu(name, blob, outputs, 3, relu=f"{name}_relu", **sizes)
    heads = [
        Head(_normalize(net, "conv4_3"), 30, 60, [2], 8),
        Head("fc7", 60, 111, [2, 3], 16),
        Head("conv6_2", 111, 162, [2, 3], 32),
        Head("conv7_2", 162, 213, [2, 3], 64),
        Head("conv8_2", 213, 264, [2], 100),
        Head("conv9_2", 264, 315, [2], 300),
    ]
    names = [head.blob for head in heads]
    _ssd_output(net, heads, 21, names, keep_top_k=200, confidence_threshold=0.01)
    return net


def res10_ssd_face() -> Net:
    """OpenCV's face detector."""
    net = Net(
        "res10_300x300_ssd",
        "The face detector of OpenCV's dnn module: SSD300 (Liu et al. 2016, "
        "https://arxiv.org/abs/1512.02325) over a ResNet of ten layers whose normalizations come "
        "before the convolutions. Layer names as in that release. Input: BGR, mean 104, 177, 123.",
    )

    def norm(bottom: str, name: str, scale: str, top: str, relu: str = "") -> str:
        blob = net.norm_scale(bottom, name, scale, top)
        return net.relu(relu, blob) if relu else blob

    def conv(name: str, bottom: str, outputs: int, kernel: int = 3, **sizes: int) -> str:
        return net.conv(name, bottom, outputs, kernel, bias=False, **sizes)

    blob = norm(net.input(1, 3, 300, 300), "data_bn", "data_scale", "data_bn")
    blob = net.conv("conv1_h", blob, 32, 7, stride=2, pad=3)
    blob = norm(blob, "conv1_bn_h", "conv1_scale_h", blob, "conv1_relu")
    blob = pooled = net.pool("conv1_pool", blob, 3, 2)
    blob = conv("layer_64_1_conv1_h", blob, 32, pad=1)
    blob = norm(blob, "layer_64_1_bn2_h", "layer_64_1_scale2_h", blob, "layer_64_1_relu2")
    blob = net.add("layer_64_1_sum", [conv("layer_64_1_conv2_h", blob, 32, pad=1), pooled])
    # (block, suffixes "_h" of its layers where the release has them, widths, stride, dilation)
    for block, (bn1, first, bn2, second, expand), (inner, outputs), stride, dilation in (
        ("layer_128_1", ("_h", "_h", "", "", "_h"), (128, 128), 2, 1),
        ("layer_256_1", ("", "", "", "", ""), (256, 256), 2, 1),
        ("layer_512_1", ("", "_h", "_h", "_h", "_h"), (128, 256), 1, 2),
    ):
        net.comment(f"Residual block {block}")
        top = f"{block}_bn1{bn1}"
        start = norm(blob, top, f"{block}_scale1{bn1}", top, f"{block}_relu1")
        blob = conv(f"{block}_conv1{first}", start, inner, stride=stride, pad=1)
        blob = norm(blob, f"{block}_bn2{bn2}", f"{block}_scale2{bn2}", blob, f"{block}_relu2")
        blob = conv(f"{block}_conv2{second}", blob, outputs, pad=dilation, dilation=dilation)
        shortcut = conv(f"{block}_conv_expand{expand}", start, outputs, 1, stride=stride)
        blob = net.add(f"{block}_sum", [blob, shortcut])
    blob = norm(blob, "last_bn_h", "last_scale_h", blob)
    blob = net.layer("last_relu", "ReLU", blob, "fc7")
    net.comment("Smaller maps")
    for stage, outputs, stride in ((6, 256, 2), (7, 128, 2), (8, 128, 1), (9, 128, 1)):
        blob = net.conv_relu(f"conv{stage}_1_h", blob, outputs // 2, 1, relu=f"conv{stage}_1_relu")
        name, relu = f"conv{stage}_2_h", f"conv{stage}_2_relu"
        blob = net.conv_relu(name, blob, outputs, 3, relu=relu, stride=stride, pad=1)
    heads = [
        Head(_normalize(net, "layer_256_1_bn1"), 30, 60, [2], 8),
        Head("fc7", 60, 111, [2, 3], 16),
        Head("conv6_2_h", 111, 162, [2, 3], 32),
        Head("conv7_2_h", 162, 213, [2, 3], 64),
        Head("conv8_2_h", 213, 264, [2], 100),
        Head("conv9_2_h", 264, 315, [2], 300),
    ]
    names = [head.blob.removesuffix("_h") for head in heads]
    _ssd_output(net, heads, 2, names, keep_top_k=200, confidence_threshold=0.01)
    return net


def faster_rcnn_vgg16() -> Net:
    """Faster R-CNN over VGG-16, for testing."""
    net = Net(
        "VGG_ILSVRC_16_layers",
        'Faster R-CNN over VGG-16: Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object '
        'Detection with Region Proposal Networks", https://arxiv.org/abs/1506.01497, for the 20 '
        "classes of PASCAL VOC. Layer names as in the authors' Python release (py-faster-rcnn), "
        "whose proposal layer is written in Python. Input: BGR, mean 102.9801, 115.9465, 122.7717; "
        "im_info is height, width and scale of the image.",
    )
    data = net.input(1, 3, 600, 800)
    net.input(1, 3, name="im_info")
    features = vgg_convolutions(net, data, pools=({"kernel": 2, "stride": 2},) * 4)
    net.comment("Region proposals: 9 anchors at each position")
    blob = net.conv("rpn_conv/3x3", features, 512, 3, pad=1, top="rpn/output")
    blob = net.relu("rpn_relu/3x3", blob)
    score = net.conv("rpn_cls_score", blob, 18, 1)
    boxes = net.conv("rpn_bbox_pred", blob, 36, 1)

    def reshape(name: str, bottom: str, channels: int) -> str:
        shape = {"shape": {"dim": [0, channels, -1, 0]}}
        return net.layer(name, "Reshape", bottom, reshape_param=shape)

    score = net.softmax(reshape("rpn_cls_score_reshape", score, 2), "rpn_cls_prob")
    score = reshape("rpn_cls_prob_reshape", score, 18)
    rois = net.layer(
        "proposal",
        "Python",
        [score, boxes, "im_info"],
        "rois",
        python_param={
            "module": "rpn.proposal_layer",
            "layer": "ProposalLayer",
            "param_str": "'feat_stride': 16",
        },
    )
    net.comment("Classes and boxes of the proposals")
    blob = net.layer(
        "roi_pool5",
        "ROIPooling",
        [features, rois],
        "pool5",
        roi_pooling_param={"pooled_w": 7, "pooled_h": 7, "spatial_scale": 0.0625},
    )
    for number in (6, 7):
        blob = net.fc_relu_dropout(number, blob)
    score = net.fc("cls_score", blob, 21)
    net.fc("bbox_pred", blob, 84)
    net.softmax(score, "cls_prob")
    return net


def yolo_v2() -> Net:
    """YOLO v2 for COCO."""
    net = Net(
        "YOLOv2",
        'YOLO v2: Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", '
        "https://arxiv.org/abs/1612.08242, for the 80 classes of COCO. The release is for darknet; "
        "layer names are ours (convN, bnN, scaleN, counted as in darknet), and Reorg is that of "
        "the forks for YOLO. The region layer is left out: region is its input. Input: RGB "
        "(channel_swap 0,1,2), 0 to 1 (raw_scale 1).",
        eps=1e-6,
    )
    count = 0

    def conv(bottom: str, outputs: int, kernel: int) -> str:
        nonlocal count
        count += 1
        name = f"conv{count}"
        blob = net.conv(name, bottom, outputs, kernel, pad=kernel // 2, bias=False)
        blob = net.norm_scale(blob, f"bn{count}", f"scale{count}")
        return net.relu(f"relu{count}", blob, slope=0.1)

    blob = net.input(1, 3, 416, 416)
    # Each stage ends in a pooling; within a stage, 3x3 convolutions alternate with narrow 1x1 ones.
    stages = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512))
    for number, widths in enumerate(stages, 1):
        for index, outputs in enumerate(widths):
            blob = conv(blob, outputs, 1 if index % 2 else 3)
        fine = blob
        blob = net.pool(f"pool{number}", blob, 2, 2)
    for index, outputs in enumerate((1024, 512, 1024, 512, 1024)):
        blob = conv(blob, outputs, 1 if index % 2 else 3)
    net.comment("Detection, with the finer map of 26 x 26 positions")
    blob = conv(conv(blob, 1024, 3), 1024, 3)
    fine = net.layer("reorg", "Reorg", conv(fine, 64, 1), reorg_param={"stride": 2})
    blob = conv(net.concat("concat", [fine, blob]), 1024, 3)
    net.conv("region", blob, 5 * (5 + 80), 1)
    return net

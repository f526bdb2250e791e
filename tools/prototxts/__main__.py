"""``python -m tools.prototxts`` writes all files; with ``--check`` it only lists which differ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tools.prototxts import classification, detection, others, segmentation
from tools.prototxts.net import Net

FOLDER = Path(__file__).parents[2] / "prototxt"

NETS: dict[str, Callable[[], Net]] = {
    "lenet": classification.lenet,
    "lenet_digits": classification.lenet_digits,
    "bvlc_alexnet": classification.alexnet,
    "bvlc_reference_caffenet": classification.caffenet,
    "caffenet_yos": classification.caffenet_yos,
    "zfnet": classification.zfnet,
    "nin_imagenet": classification.nin,
    "vgg16": partial(classification.vgg, 16),
    "vgg19": partial(classification.vgg, 19),
    "bvlc_googlenet": classification.googlenet,
    "resnet50": partial(classification.resnet, 50),
    "resnet101": partial(classification.resnet, 101),
    "resnet152": partial(classification.resnet, 152),
    "squeezenet_v1.0": partial(classification.squeezenet, "1.0"),
    "squeezenet_v1.1": partial(classification.squeezenet, "1.1"),
    "densenet121": classification.densenet121,
    "mobilenet_v1": classification.mobilenet_v1,
    "mobilenet_v2": classification.mobilenet_v2,
    "shufflenet_g3": classification.shufflenet_g3,
    "sketch_a_net": classification.sketch_a_net,
    "fcn32s": segmentation.fcn32s,
    "fcn8s": segmentation.fcn8s,
    "segnet": segmentation.segnet,
    "deeplab_largefov": segmentation.deeplab_largefov,
    "pspnet50": segmentation.pspnet50,
    "ssd300_vgg": detection.ssd300_vgg,
    "res10_ssd_face": detection.res10_ssd_face,
    "faster_rcnn_vgg16": detection.faster_rcnn_vgg16,
    "yolo_v2": detection.yolo_v2,
    "mnist_siamese": others.mnist_siamese,
    "m11": others.m11,
    "c3d": others.c3d,
    "lrcn": others.lrcn,
}


def main() -> None:
    """Write or check the files."""
    parser = argparse.ArgumentParser(prog="python -m tools.prototxts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if files differ")
    check = parser.parse_args().check
    differing = []
    for name, make in NETS.items():
        path, text = FOLDER / f"{name}.prototxt", make().text
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(path.name)
        if not check:
            path.write_text(text, encoding="utf-8")
    print(f"{'differ' if check else 'written'}: {', '.join(differing) or 'none'}")
    sys.exit(bool(check and differing))


if __name__ == "__main__":
    main()
